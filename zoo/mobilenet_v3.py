"""MobileNetV3: inverted residuals with hard swish and squeeze-and-excite (Howard et al. 2019).

arXiv 1905.02244, tables 1 and 2.

Deviation: the paper does not say how wide the squeeze is rounded; a quarter of the expanded
channels, to multiples of 8, gives the counts of the reference implementations.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.zoo.backbone import Backbone, StridedMap
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.convolution import Conv
from attokit.zoo.initialization import lecun_fan_in
from attokit.zoo.sizes import check_positive, round_to_8

_STEM = 16


@dataclasses.dataclass(frozen=True)
class Row:
    """One inverted residual of the paper's tables.

    Attributes:
      kernel: Side of the depthwise kernel.
      expanded: Channels in the middle.
      features: Output channels.
      squeeze: Whether channels are gated (squeeze-and-excite).
      activation: Of the widening and the depthwise convolution.
      stride: Step of the depthwise convolution.
    """

    kernel: int
    expanded: int
    features: int
    squeeze: bool
    activation: Literal["relu", "hard_swish"]
    stride: int


_RE: Final = "relu"
_HS: Final = "hard_swish"
_SMALL = (
    Row(3, 16, 16, True, _RE, 2),
    Row(3, 72, 24, False, _RE, 2),
    Row(3, 88, 24, False, _RE, 1),
    Row(5, 96, 40, True, _HS, 2),
    Row(5, 240, 40, True, _HS, 1),
    Row(5, 240, 40, True, _HS, 1),
    Row(5, 120, 48, True, _HS, 1),
    Row(5, 144, 48, True, _HS, 1),
    Row(5, 288, 96, True, _HS, 2),
    Row(5, 576, 96, True, _HS, 1),
    Row(5, 576, 96, True, _HS, 1),
)
_LARGE = (
    Row(3, 16, 16, False, _RE, 1),
    Row(3, 64, 24, False, _RE, 2),
    Row(3, 72, 24, False, _RE, 1),
    Row(5, 72, 40, True, _RE, 2),
    Row(5, 120, 40, True, _RE, 1),
    Row(5, 120, 40, True, _RE, 1),
    Row(3, 240, 80, False, _HS, 2),
    Row(3, 200, 80, False, _HS, 1),
    Row(3, 184, 80, False, _HS, 1),
    Row(3, 184, 80, False, _HS, 1),
    Row(3, 480, 112, True, _HS, 1),
    Row(3, 672, 112, True, _HS, 1),
    Row(5, 672, 160, True, _HS, 2),
    Row(5, 960, 160, True, _HS, 1),
    Row(5, 960, 160, True, _HS, 1),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetV3Config:
    """Sizes of one MobileNetV3.

    Attributes:
      rows: The inverted residuals, in order.
      last: Channels of the last convolution.
      hidden: Width of the layer before the logits.
      num_classes: Logits per image.
      image_size: Height, width and channels that `zoo.info` counts at. The network takes any.
    """

    rows: tuple[Row, ...]
    last: int
    hidden: int
    num_classes: int = 1000
    image_size: tuple[int, int, int] = (224, 224, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "last", "hidden", "num_classes")


class MobileNetV3(Backbone):
    """The classifier of a config: stem, inverted residuals, 1x1 convolution, average, two layers.

    Parameters are named `stem`, `block1`, `block2`, ..., `last`, `hidden`, `head`.
    """

    config: MobileNetV3Config

    @nn.nowrap
    def stages(self, images: Float[Array, "b h w c"], *, train: bool) -> Iterator[StridedMap]:
        """Yields the map after the stem and every block, and what the last convolution makes of it."""
        x = ConvNorm(_STEM, 3, strides=2, activation="hard_swish", name="stem")(images, train=train)
        reached = 2
        yield reached, x
        for i, row in enumerate(self.config.rows, start=1):
            x = GatedResidual(row, name=f"block{i}")(x, train=train)
            reached *= row.stride
            yield reached, x
        x = ConvNorm(self.config.last, activation="hard_swish", name="last")(x, train=train)
        yield reached, x

    @nn.nowrap
    def classify(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b k"]:
        """Returns the logits of the last map."""
        del train
        x = jnp.mean(x, axis=(1, 2))  # [b, c]
        x = nn.hard_swish(nn.Dense(self.config.hidden, kernel_init=lecun_fan_in, name="hidden")(x))
        return nn.Dense(self.config.num_classes, kernel_init=lecun_fan_in, name="head")(x)


class GatedResidual(nn.Module):
    """An inverted residual whose channels may be gated by what the whole image holds.

    Attributes:
      row: Its sizes.
    """

    row: Row

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Returns the block's activations, which may be negative."""
        row, shortcut = self.row, x
        if row.expanded != x.shape[-1]:
            x = ConvNorm(row.expanded, activation=row.activation, name="expand")(x, train=train)
        x = ConvNorm(
            row.expanded,
            row.kernel,
            strides=row.stride,
            groups=row.expanded,
            activation=row.activation,
            name="depthwise",
        )(x, train=train)
        if row.squeeze:
            x = SqueezeExcite(name="squeeze_excite")(x)
        x = ConvNorm(row.features, activation="none", name="project")(x, train=train)
        return x + shortcut if x.shape == shortcut.shape else x


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate in [0, 1] (Hu et al. 2018), here a hard sigmoid."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the gated channels."""
        channels = x.shape[-1]
        gate = jnp.mean(x, axis=(1, 2), keepdims=True)
        gate = Conv(round_to_8(channels / 4), 1, use_bias=True, name="reduce")(gate)
        gate = Conv(channels, 1, use_bias=True, name="expand")(nn.relu(gate))
        return x * nn.hard_sigmoid(gate)


VARIANTS: Mapping[str, MobileNetV3Config] = MappingProxyType(
    {
        "mobilenet_v3_large": MobileNetV3Config(rows=_LARGE, last=960, hidden=1280),
        "mobilenet_v3_small": MobileNetV3Config(rows=_SMALL, last=576, hidden=1024),
    }
)
