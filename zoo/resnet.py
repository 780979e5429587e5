"""ResNet of bottleneck blocks (He et al. 2015, arXiv 1512.03385): the yardstick that small networks are held to.

Counts, padding and epsilon are those of torchvision, so that its weights can be read (`zoo.torchvision`).

Deviation: the stride of a block is that of its 3x3 convolution, not of the first 1x1; torchvision and most
others have it there, the counts of multiply-adds too.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.backbone import Backbone, StridedMap
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.convolution import Padding
from attokit.zoo.sizes import check_choice, check_positive
from attokit.zoo.standardize import check_standardization, standardize

EPSILON = 1e-5
_STEM, _EXPANSION = 64, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Sizes of one ResNet.

    Attributes:
      blocks: Bottlenecks of each stage; every stage but the first halves the map and doubles the channels.
      padding: Of strided convolutions and the pool: "symmetric" as PyTorch has it, which is an operator and a
        copy of the map in a file; "same" as TFLite has it itself. Weights of torchvision want the first.
      input_mean: Subtracted from images in [0, 1], per channel; None where the network takes them as they are.
      input_std: What they are divided by then. Weights of torchvision want ImageNet's
        mean (0.485, 0.456, 0.406) and deviation (0.229, 0.224, 0.225).
      num_classes: Logits per image.
      image_size: Height, width and channels that `zoo.info` counts at. The network takes any.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    padding: Literal["symmetric", "same"] = "symmetric"
    input_mean: tuple[float, ...] | None = None
    input_std: tuple[float, ...] | None = None
    num_classes: int = 1000
    image_size: tuple[int, int, int] = (224, 224, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "num_classes")
        check_choice(self, "padding", "symmetric", "same")
        check_standardization(self)
        if not self.blocks or min(self.blocks) < 1:
            raise ValueError(f"blocks={self.blocks}: give a positive number for each stage")


class ResNet(Backbone):
    """The classifier of a config: stem, pool, stages of bottlenecks, global average, linear head.

    Parameters are named by stage and block: `stem`, `stage1_block1` ... `stage4_block3`, `head`.
    """

    config: ResNetConfig

    @nn.nowrap
    def stages(self, images: Float[Array, "b h w c"], *, train: bool) -> Iterator[StridedMap]:
        """Yields the map after the stem and every block."""
        config = self.config
        x = standardize(images, config.input_mean, config.input_std)
        x = ConvNorm(_STEM, 7, strides=2, padding=self._padding(7), epsilon=EPSILON, name="stem")(
            x, train=train
        )
        yield 2, x
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=self._padding(3))
        reached = 4
        for stage, blocks in enumerate(config.blocks, start=1):
            for block in range(1, blocks + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                reached *= stride
                x = Bottleneck(
                    _STEM * 2 ** (stage - 1),
                    stride=stride,
                    padding=self._padding(3),
                    name=f"stage{stage}_block{block}",
                )(x, train=train)
                yield reached, x

    def _padding(self, kernel: int) -> Padding:
        symmetric = ((kernel // 2, kernel // 2),) * 2
        return symmetric if self.config.padding == "symmetric" else "SAME"


class Bottleneck(nn.Module):
    """Narrow, mix space, widen, and add the input, through a 1x1 convolution where shapes differ.

    Attributes:
      features: Channels in the middle; four times as many come out.
      stride: Step of the 3x3 convolution.
      padding: Of it.
    """

    features: int
    stride: int
    padding: Padding

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Returns the block's activations."""
        shortcut, wide = x, self.features * _EXPANSION
        x = ConvNorm(self.features, epsilon=EPSILON, name="reduce")(x, train=train)
        x = ConvNorm(
            self.features,
            3,
            strides=self.stride,
            padding=self.padding,
            epsilon=EPSILON,
            name="spatial",
        )(x, train=train)
        x = ConvNorm(wide, activation="none", epsilon=EPSILON, name="restore")(x, train=train)
        if self.stride != 1 or shortcut.shape[-1] != wide:
            shortcut = ConvNorm(
                wide, strides=self.stride, activation="none", epsilon=EPSILON, name="shortcut"
            )(shortcut, train=train)
        return nn.relu(x + shortcut)


VARIANTS: Mapping[str, ResNetConfig] = MappingProxyType({"resnet50": ResNetConfig()})
