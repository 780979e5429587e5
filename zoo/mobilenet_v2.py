"""MobileNetV2: inverted residuals with linear bottlenecks (Sandler et al. 2018, arXiv 1801.04381)."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.initialization import lecun_fan_in
from attokit.zoo.sizes import check_positive, round_to_8

_STEM, _LAST = 32, 1280

# Expansion, output channels, repetitions and first stride of each stage (table 2 of the paper).
_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV2Config:
    """Sizes of one MobileNetV2.

    Attributes:
      width: Multiplier of the channel counts; products are rounded to multiples of 8 that lose no more
        than a tenth. The last convolution keeps its 1280 channels below width 1.
      num_classes: Logits per image.
      image_size: Height, width and channels that `zoo.info` counts at. The network takes any.
    """

    width: float = 1.0
    num_classes: int = 1000
    image_size: tuple[int, int, int] = (224, 224, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "width", "num_classes")


class MobileNetV2(nn.Module):
    """The classifier of a config: stem, 17 inverted residuals, 1x1 convolution, average, head.

    Parameters are named by stage and block: `stem`, `stage1_block1` ... `stage7_block1`, `last`, `head`.
    """

    config: MobileNetV2Config

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b k"]:
        """Returns the logits of images in [0, 1]; `train` updates the batch statistics."""
        width = self.config.width
        x = inverted_residuals(images, width=width, train=train)
        last = round_to_8(_LAST * max(1.0, width))
        x = ConvNorm(last, activation="relu6", name="last")(x, train=train)
        x = jnp.mean(x, axis=(1, 2))  # [b, c]
        return nn.Dense(
            self.config.num_classes, dtype=x.dtype, kernel_init=lecun_fan_in, name="head"
        )(x)


def inverted_residuals(
    images: Float[Array, "b h w c"], *, width: float, output_stride: int = 32, train: bool
) -> Float[Array, "b h2 w2 c2"]:
    """Returns what the last inverted residual gives, as layers of the module that calls.

    Where `output_stride` is reached, strides become distances between the taps of the kernels that
    follow, which see the same area.
    """
    x = ConvNorm(round_to_8(_STEM * width), 3, strides=2, activation="relu6", name="stem")(
        images, train=train
    )
    reached, dilation = 2, 1
    for stage, (expansion, channels, repetitions, step) in enumerate(_ROWS, start=1):
        stride = step if reached * step <= output_stride else 1
        reached *= stride
        for block in range(1, repetitions + 1):
            x = InvertedResidual(
                features=round_to_8(channels * width),
                expansion=expansion,
                stride=stride if block == 1 else 1,
                dilation=dilation,
                name=f"stage{stage}_block{block}",
            )(x, train=train)
            if block == 1:
                dilation *= step // stride
    return x


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow without activation, and add the input where shapes agree.

    Attributes:
      features: Output channels.
      expansion: How many times wider the middle is; 1 leaves the widening convolution out.
      stride: Step of the depthwise convolution.
      dilation: Distance between its taps.
    """

    features: int
    expansion: int
    stride: int
    dilation: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Returns the block's activations, which may be negative."""
        shortcut, middle = x, x.shape[-1] * self.expansion
        if self.expansion != 1:
            x = ConvNorm(middle, activation="relu6", name="expand")(x, train=train)
        x = ConvNorm(
            middle,
            3,
            strides=self.stride,
            dilation=self.dilation,
            groups=middle,
            activation="relu6",
            name="depthwise",
        )(x, train=train)
        x = ConvNorm(self.features, activation="none", name="project")(x, train=train)
        return x + shortcut if x.shape == shortcut.shape else x


VARIANTS: Mapping[str, MobileNetV2Config] = MappingProxyType(
    {
        "mobilenet_v2": MobileNetV2Config(),
        "mobilenet_v2_035": MobileNetV2Config(width=0.35),
        "mobilenet_v2_050": MobileNetV2Config(width=0.5),
        "mobilenet_v2_075": MobileNetV2Config(width=0.75),
        "mobilenet_v2_140": MobileNetV2Config(width=1.4),
    }
)
