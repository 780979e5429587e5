"""MobileNetV1: depthwise separable convolutions (Howard et al. 2017, arXiv 1704.04861)."""

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.backbone import Backbone, StridedMap
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.sizes import check_positive

_STEM = 32

# Output channels and stride of each separable convolution (table 1 of the paper).
_ROWS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV1Config:
    """Sizes of one MobileNetV1.

    Attributes:
      width: Multiplier of every channel count; the product is cut to a multiple of 8, at least 8.
      num_classes: Logits per image.
      image_size: Height, width and channels that `zoo.info` counts at. The network takes any.
    """

    width: float = 1.0
    num_classes: int = 1000
    image_size: tuple[int, int, int] = (224, 224, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "width", "num_classes")


class MobileNetV1(Backbone):
    """The classifier of a config: stem, 13 separable convolutions, global average, linear head.

    Parameters are named `stem`, `block1_depthwise`, `block1_pointwise` ... `block13_pointwise`, `head`.
    """

    config: MobileNetV1Config

    @nn.nowrap
    def stages(self, images: Float[Array, "b h w c"], *, train: bool) -> Iterator[StridedMap]:
        """Yields the map after every separable convolution."""
        x = ConvNorm(self._channels(_STEM), 3, strides=2, activation="relu6", name="stem")(
            images, train=train
        )
        reached = 2
        for block, (channels, stride) in enumerate(_ROWS, start=1):
            x = ConvNorm(
                x.shape[-1],
                3,
                strides=stride,
                groups=x.shape[-1],
                activation="relu6",
                name=f"block{block}_depthwise",
            )(x, train=train)
            x = ConvNorm(
                self._channels(channels), activation="relu6", name=f"block{block}_pointwise"
            )(x, train=train)
            reached *= stride
            yield reached, x

    def _channels(self, channels: int) -> int:
        return max(8, int(channels * self.config.width) // 8 * 8)


VARIANTS: Mapping[str, MobileNetV1Config] = MappingProxyType(
    {
        "mobilenet_v1": MobileNetV1Config(),
        "mobilenet_v1_025": MobileNetV1Config(width=0.25),
        "mobilenet_v1_050": MobileNetV1Config(width=0.5),
        "mobilenet_v1_075": MobileNetV1Config(width=0.75),
    }
)
