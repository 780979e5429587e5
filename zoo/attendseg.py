"""AttendSeg: segmentation by attention condensers with light refinement (Wen et al., arXiv 2104.14623).

A stem halves the image.  Stages of modules follow, each at half the resolution of the one before, from
1/4 on.  A module narrows by a 1x1 convolution, mixes space by a 3x3 one, attends by a visual attention
condenser, whose embedding sees four times the area at a quarter of the cost, and widens again; its input
is added.  The refinement climbs back: the coarsest stage is narrowed by a 1x1 convolution, and at every
finer one up to 1/4 resized, added to that stage's features through a 1x1 convolution and smoothed by a
3x3 one.  A 1x1 convolution classifies at 1/4 resolution; logits are interpolated from there.

Deviation: the layer table of the paper was not at hand.  Widths, depths and the order of layers are this
project's, within the published 1.19M parameters and the multiply-adds of the published ratio.
Deviation: weights and activations are INT8 after quantization, as in every model here; the paper
quantizes weights to 8 bits and says no more.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
from jaxtyping import Array, Float, Shaped

from attokit.zoo.attention_condenser import Attention, AttentionCondenser, CondenserConfig
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.pooling import max_pool
from attokit.zoo.resize import resize
from attokit.zoo.segmentation_head import Output, SegmentationHead, check_output
from attokit.zoo.sizes import check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Sizes of the modules at one resolution.

    Attributes:
      width: Output channels of each module.
      bottleneck: Channels of the 3x3 convolution and of what is attended to.
      condensed: Channels inside the condenser: mixed down, grouped and embedded.
      depth: Modules; the first halves the resolution.
      groups: Of the 3x3 convolution in the condenser; divides its channels.
    """

    width: int
    bottleneck: int
    condensed: int
    depth: int
    groups: int = 1

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "width", "bottleneck", "condensed", "depth", "groups")
        if self.condensed % self.groups:
            raise ValueError(
                f"condensed={self.condensed} does not divide into groups={self.groups}: "
                "choose a divisor"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttendSegConfig:
    """Sizes of one AttendSeg.

    Attributes:
      stem: Channels at half the resolution.
      stages: From 1/4 resolution down, each at half of the one before.
      refinement: Channels of the refinement at each stage but the coarsest, finest first; the first are
        what is classified.  Of a single stage nothing is refined, and it is empty.
      attention: How condensers join what they attend to with the attention.
      num_classes: Logits per pixel.
      output: "full": logits at the images' resolution; "quarter": at 1/4 of it; "argmax": class ids.
      image_size: Height, width and channels that `zoo.info` counts at.  The network takes any.
    """

    stem: int
    stages: tuple[Stage, ...]
    refinement: tuple[int, ...]
    attention: Attention = "gate"
    num_classes: int = 12
    output: Output = "full"
    image_size: tuple[int, int, int] = (512, 512, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "stem", "num_classes")
        check_output(self)
        if not self.stages:
            raise ValueError("stages=(): give at least one, at 1/4 resolution")
        if len(self.refinement) != len(self.stages) - 1 or min(self.refinement, default=1) < 1:
            raise ValueError(
                f"refinement={self.refinement} for {len(self.stages)} stages: give channels, one "
                "positive number for each stage but the coarsest"
            )


class AttendSeg(nn.Module):
    """The segmentation network of a config: stem, stages, refinement, head.

    Parameters are named by stage and module: `stem`, `stage1_module1` ..., by stage in the refinement:
    `lateral3` ... `lateral1`, `refine2`, `refine1`, and `head`.
    """

    config: AttendSegConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Shaped[Array, "b h2 w2 *k"]:
        """Returns logits, or class ids, of images in [0, 1]; `train` updates the batch statistics."""
        config = self.config
        x = ConvNorm(config.stem, 3, strides=2, name="stem")(images, train=train)
        features = []
        for number, stage in enumerate(config.stages, start=1):
            for position in range(1, stage.depth + 1):
                x = AttendModule(
                    stage,
                    stride=2 if position == 1 else 1,
                    attention=config.attention,
                    name=f"stage{number}_module{position}",
                )(x, train=train)
            features.append(x)
        x = self._refine(features, train)
        return SegmentationHead(config.num_classes, config.output, name="head")(
            x, size=images.shape[1:3], train=train
        )

    def _refine(
        self, features: list[Float[Array, "b _ _ _"]], train: bool
    ) -> Float[Array, "b h4 w4 c"]:
        """Returns features at 1/4 resolution that know what the coarser ones know."""
        widths = self.config.refinement
        *finer, coarse = features
        if not finer:
            return coarse
        coarse = ConvNorm(widths[-1], activation="none", name=f"lateral{len(features)}")(
            coarse, train=train
        )
        for number in range(len(finer), 0, -1):
            x = ConvNorm(widths[number - 1], activation="none", name=f"lateral{number}")(
                finer[number - 1], train=train
            )
            x = nn.relu(x + resize(coarse, x.shape[1:3]))
            next_width = widths[max(number - 2, 0)]
            coarse = ConvNorm(next_width, 3, name=f"refine{number}")(x, train=train)
        return coarse


class AttendModule(nn.Module):
    """Narrow, mix space, attend, widen, add the input.

    Attributes:
      stage: Sizes.
      stride: Step of the 3x3 convolution.  With 2 the input is pooled before it is added.
      attention: How the condenser joins.
    """

    stage: Stage
    stride: int
    attention: Attention

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Returns the module's activations."""
        sizes, shortcut = self.stage, x
        if self.stride > 1:
            shortcut = max_pool(shortcut, self.stride)
        if shortcut.shape[-1] != sizes.width:
            shortcut = ConvNorm(sizes.width, activation="none", name="shortcut")(
                shortcut, train=train
            )
        if x.shape[-1] > sizes.bottleneck:
            x = ConvNorm(sizes.bottleneck, name="narrow")(x, train=train)
        x = ConvNorm(sizes.bottleneck, 3, strides=self.stride, name="spatial")(x, train=train)
        x = AttentionCondenser(
            CondenserConfig(
                mixed=sizes.condensed,
                grouped=sizes.condensed,
                embedded=sizes.condensed,
                groups=sizes.groups,
                attention=self.attention,
            ),
            name="condenser",
        )(x, train=train)
        x = ConvNorm(
            sizes.width,
            activation="none",
            scale_init=nn.initializers.zeros_init(),
            name="widen",
        )(x, train=train)
        return nn.relu(x + shortcut)


VARIANTS: Mapping[str, AttendSegConfig] = MappingProxyType(
    {
        "attendseg": AttendSegConfig(
            stem=32,
            stages=(
                Stage(width=48, bottleneck=32, condensed=32, depth=2),
                Stage(width=96, bottleneck=64, condensed=32, depth=4),
                Stage(width=192, bottleneck=96, condensed=48, depth=3),
                Stage(width=256, bottleneck=112, condensed=64, depth=1),
            ),
            refinement=(48, 64, 96),
        ),
    }
)
