"""MobileNetV2: inverted residuals with linear bottlenecks (Sandler et al. 2018, arXiv 1801.04381).

`mobilenet_v2_rnnpool` puts RNNPool in the place of the first three stages (Saha et al. 2020, arXiv
2002.11921, table 10), whose maps are the largest.

Deviation: mobilenet_v2_rnnpool follows table 10 of its paper, which does not lead to the figures of
the text (2.00M parameters and 226M multiply-adds with 10 classes); the patches are those of table 9.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.backbone import Backbone, StridedMap
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.convolution import Padding
from attokit.zoo.initialization import lecun_fan_in
from attokit.zoo.map_pooling import LastPooling, LastPoolingKind, StemPooling, StemPoolingKind
from attokit.zoo.sizes import check_choice, check_positive, round_to_8

StemPoolingOrBlocks = Literal["blocks"] | StemPoolingKind

_STEM, _POOLED, _LAST = 32, 64, 1280

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
_POOLED_ROWS = 3  # how many of them a pooled stem takes the place of


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV2Config:
    """Sizes of one MobileNetV2.

    Attributes:
      width: Multiplier of the channel counts; products are rounded to multiples of 8 that lose no more
        than a tenth. The last convolution keeps its 1280 channels below width 1.
      stem_pooling: What takes the place of the first three stages: a pooling of 6x6 patches at a
        stride of 4, to the 64 channels of the paper of RNNPool times `width`; "blocks" keeps them.
      last_pooling: What makes a vector of the last map; "rnnpool" needs square images.
      num_classes: Logits per image.
      image_size: Height, width and channels that `zoo.info` counts at. The network takes any.
    """

    width: float = 1.0
    stem_pooling: StemPoolingOrBlocks = "blocks"
    last_pooling: LastPoolingKind = "average"
    num_classes: int = 1000
    image_size: tuple[int, int, int] = (224, 224, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "width", "num_classes")
        check_choice(self, "stem_pooling", "blocks", *get_args(StemPoolingKind))
        check_choice(self, "last_pooling", *get_args(LastPoolingKind))


class MobileNetV2(Backbone):
    """The classifier of a config: stem, 17 inverted residuals, 1x1 convolution, average, head.

    Parameters are named by stage and block: `stem`, `stage1_block1` ... `stage7_block1`, `last`, `head`;
    a pooled stem has `pool` for the first three stages, a pooled end `last_pool`.
    """

    config: MobileNetV2Config

    @nn.nowrap
    def stages(self, images: Float[Array, "b h w c"], *, train: bool) -> Iterator[StridedMap]:
        """Yields the map after every stage of inverted residuals."""
        config = self.config
        return inverted_residuals(
            images, width=config.width, stem_pooling=config.stem_pooling, train=train
        )

    @nn.nowrap
    def classify(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b k"]:
        """Returns the logits of the last map, which one more convolution widens."""
        last = round_to_8(_LAST * max(1.0, self.config.width))
        x = ConvNorm(last, activation="relu6", name="last")(x, train=train)
        x = LastPooling(self.config.last_pooling, name="last_pool")(x)  # [b, c]
        return nn.Dense(
            self.config.num_classes, dtype=x.dtype, kernel_init=lecun_fan_in, name="head"
        )(x)


def inverted_residuals(
    images: Float[Array, "b h w c"],
    *,
    width: float,
    output_stride: int = 32,
    stem_pooling: StemPoolingOrBlocks = "blocks",
    train: bool,
) -> Iterator[StridedMap]:
    """Yields the map after every stage, as layers of the module that calls.

    A pooled stem takes the place of the first three stages, and has their stride.

    Where `output_stride` is reached, strides become distances between the taps of the kernels that
    follow, which see the same area.
    """
    x = ConvNorm(round_to_8(_STEM * width), 3, strides=2, activation="relu6", name="stem")(
        images, train=train
    )
    reached, dilation, skipped = 2, 1, 0
    if stem_pooling != "blocks":
        pooled = round_to_8(_POOLED * width)
        x = StemPooling(stem_pooling, pooled, name="pool")(x, train=train)
        reached, skipped = 8, _POOLED_ROWS
        yield reached, x
    rows = enumerate(_ROWS[skipped:], start=1 + skipped)
    for stage, (expansion, channels, repetitions, step) in rows:
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
        yield reached, x


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow without activation, and add the input where shapes agree.

    Attributes:
      features: Output channels.
      expansion: How many times wider the middle is; 1 leaves the widening convolution out.
      stride: Step of the depthwise convolution.
      dilation: Distance between its taps.
      padding: Of the depthwise convolution.
      epsilon: Of the norms.
    """

    features: int
    expansion: int
    stride: int
    dilation: int = 1
    padding: Padding = "SAME"
    epsilon: float = 1e-3

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Returns the block's activations, which may be negative."""
        shortcut, middle = x, x.shape[-1] * self.expansion
        block = functools.partial(ConvNorm, epsilon=self.epsilon)
        if self.expansion != 1:
            x = block(middle, activation="relu6", name="expand")(x, train=train)
        x = block(
            middle,
            3,
            strides=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=middle,
            activation="relu6",
            name="depthwise",
        )(x, train=train)
        x = block(self.features, activation="none", name="project")(x, train=train)
        return x + shortcut if x.shape == shortcut.shape else x


VARIANTS: Mapping[str, MobileNetV2Config] = MappingProxyType(
    {
        "mobilenet_v2": MobileNetV2Config(),
        "mobilenet_v2_035": MobileNetV2Config(width=0.35),
        "mobilenet_v2_050": MobileNetV2Config(width=0.5),
        "mobilenet_v2_075": MobileNetV2Config(width=0.75),
        "mobilenet_v2_140": MobileNetV2Config(width=1.4),
        "mobilenet_v2_rnnpool": MobileNetV2Config(stem_pooling="rnnpool"),
    }
)
