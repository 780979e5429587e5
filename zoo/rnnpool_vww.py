"""The wake word networks of RNNPool: is there a person? (Saha et al. 2020, arXiv 2002.11921).

A MobileNetV2 of width 0.35 whose first stages are one RNNPool, as the reference implementation has it
(microsoft/EdgeML, Visual_Wakeword): its padding, epsilon and parameter counts, so that its weights can
be read (`zoo.edgeml`). `rnnpool_vww_2` pools the last map by RNNPool too.

Deviation: the paper counts 255K (259K) parameters and 37.7M multiply-adds; the reference implementation has
281,902 (327,026) parameters, and these networks too, and 40.4M multiply-adds as it counts; what runs here is 35.5M
(37.5M).
Deviation: any image size from 11 pixels on; the reference implementation takes 224x224 alone.
Deviation: running statistics forget in 10 steps, as in every network here, not in 100.
Deviation: the last layer starts with a variance of 1 / inputs, as in every network here, not a deviation of 0.01.
"""

import dataclasses
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
from attokit.zoo.mobilenet_v2 import InvertedResidual
from attokit.zoo.sizes import check_choice, check_positive, round_to_8
from attokit.zoo.standardize import check_standardization, standardize

_EPSILON = 1e-5
_SYMMETRIC = ((1, 1), (1, 1))
_STEM = 8

# Expansion, output channels, repetitions and first stride of each stage.
ROWS = ((6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNPoolVWWConfig:
    """Sizes of one wake word network.

    Attributes:
      width: Multiplier of the stages' channels, rounded to multiples of 8.
      pooled: Channels after the first pooling.
      last: Channels of the last convolution.
      pooling: What pools after the first convolution: RNNPool or what the paper compares it with.
      last_pooling: What makes a vector of the last map; "rnnpool" needs square images.
      dropout: Share of the vector that training leaves out.
      padding: Of strided convolutions: "symmetric" as PyTorch has it, which is an operator and a copy of the
        map in a file; "same" as TFLite's convolutions have it themselves. Weights of EdgeML want the first.
      freeze_gate_scalars: Fixes what RNNPool's zeta and nu come to at 1 and 0; see `zoo.RNNPool`.
      input_mean: Subtracted from images in [0, 1], per channel; None where the network takes them as they are.
      input_std: What they are divided by then. Weights of EdgeML want ImageNet's
        mean (0.485, 0.456, 0.406) and deviation (0.229, 0.224, 0.225).
      num_classes: Logits per image.
      image_size: Height, width and channels that `zoo.info` counts at.
    """

    width: float = 0.35
    pooled: int = 32
    last: int = 320
    pooling: StemPoolingKind = "rnnpool"
    last_pooling: LastPoolingKind = "average"
    dropout: float = 0.2
    padding: Literal["symmetric", "same"] = "symmetric"
    freeze_gate_scalars: bool = False
    input_mean: tuple[float, ...] | None = None
    input_std: tuple[float, ...] | None = None
    num_classes: int = 2
    image_size: tuple[int, int, int] = (224, 224, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "width", "pooled", "last", "num_classes")
        check_choice(self, "padding", "symmetric", "same")
        check_choice(self, "pooling", *get_args(StemPoolingKind))
        check_choice(self, "last_pooling", *get_args(LastPoolingKind))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: give a share from 0 to below 1")
        check_standardization(self)


class RNNPoolVWW(Backbone):
    """The classifier of a config: stem, pooling, 11 inverted residuals, 1x1 convolution, pooling, head.

    Parameters are named `stem`, `pool`, `stage1_block1` ... `stage4_block1`, `last`, `last_pool`, `head`.
    Images smaller than what the first pooling needs are a ValueError.
    """

    config: RNNPoolVWWConfig

    @nn.nowrap
    def stages(self, images: Float[Array, "b h w c"], *, train: bool) -> Iterator[StridedMap]:
        """Yields the map after the stem, the pooling and every stage of inverted residuals."""
        config = self.config
        padding: Padding = _SYMMETRIC if config.padding == "symmetric" else "SAME"
        x = standardize(images, config.input_mean, config.input_std)
        x = ConvNorm(
            _STEM,
            3,
            strides=2,
            padding=padding,
            activation="relu6",
            epsilon=_EPSILON,
            name="stem",
        )(x, train=train)
        yield 2, x
        x = StemPooling(
            config.pooling,
            config.pooled,
            freeze_gate_scalars=config.freeze_gate_scalars,
            epsilon=_EPSILON,
            name="pool",
        )(x, train=train)
        reached = 8
        yield reached, x
        for stage, (expansion, channels, repetitions, stride) in enumerate(ROWS, start=1):
            reached *= stride
            for number in range(1, repetitions + 1):
                x = InvertedResidual(
                    features=round_to_8(channels * config.width),
                    expansion=expansion,
                    stride=stride if number == 1 else 1,
                    padding=padding,
                    epsilon=_EPSILON,
                    name=f"stage{stage}_block{number}",
                )(x, train=train)
            yield reached, x

    @nn.nowrap
    def classify(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b k"]:
        """Returns the logits of the last map, which one more convolution widens."""
        config = self.config
        x = ConvNorm(config.last, activation="relu6", epsilon=_EPSILON, name="last")(x, train=train)
        x = LastPooling(config.last_pooling, config.freeze_gate_scalars, name="last_pool")(x)
        x = nn.Dropout(config.dropout, deterministic=not train)(x)
        return nn.Dense(config.num_classes, dtype=x.dtype, kernel_init=lecun_fan_in, name="head")(x)


VARIANTS: Mapping[str, RNNPoolVWWConfig] = MappingProxyType(
    {
        "rnnpool_vww": RNNPoolVWWConfig(),
        "rnnpool_vww_2": RNNPoolVWWConfig(last_pooling="rnnpool", dropout=0.0),
    }
)
