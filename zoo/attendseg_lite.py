"""AttendSeg's attention condensers in a network for microcontrollers that small computers can train.

A stem halves the image. Stages of plain 3x3 convolutions follow, the first at the stem's resolution, each
other at half of the one before, which the largest of 2x2 cells makes; a visual attention condenser
(`zoo.attention_condenser`) ends a stage. The refinement climbs back: at every finer stage what is known is
resized, set beside that stage's features and narrowed by a 3x3 convolution. A 1x1 convolution classifies
at half the resolution; logits are interpolated from there.

Deviation: it is no network of the paper (Wen et al., arXiv 2104.14623), whose layer table was not at hand. From it
come the condensers and the light refinement; that convolutions are neither narrowed nor grouped, and
that features are concatenated, was found by training: it takes little more than half of the
steps that a network of narrowed modules, added at 1/4 resolution, needs for the same loss, at 0.8 of its speed
(docs/results.md).
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from attokit.zoo.attention_condenser import Attention, AttentionCondenser, CondenserConfig
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.pooling import max_pool
from attokit.zoo.resize import resize
from attokit.zoo.segmentation_head import Output, SegmentationHead, check_output
from attokit.zoo.sizes import check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiteStage:
    """Sizes of the convolutions at one resolution.

    Attributes:
      width: Output channels of each.
      depth: How many.
      condensed: Channels inside the condenser that ends the stage; 0 for none.
    """

    width: int
    depth: int
    condensed: int

    def __post_init__(self) -> None:
        """Refuses sizes that no stage can have."""
        check_positive(self, "width", "depth")
        if self.condensed < 0:
            raise ValueError(f"condensed={self.condensed}: give channels, or 0 for no condenser")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttendSegLiteConfig:
    """Sizes of one network.

    Attributes:
      stem: Channels of the first convolution.
      stages: From 1/2 of the resolution down, each at half of the one before.
      attention: How condensers join what they attend to with the attention.
      num_classes: Logits per pixel.
      output: "full": logits at the images' resolution; "quarter": at 1/4 of it; "argmax": class ids.
      image_size: Height, width and channels that `zoo.info` counts at. The network takes any.
    """

    stem: int = 16
    stages: tuple[LiteStage, ...] = (
        LiteStage(width=16, depth=1, condensed=0),
        LiteStage(width=32, depth=2, condensed=16),
        LiteStage(width=64, depth=2, condensed=32),
        LiteStage(width=96, depth=2, condensed=32),
    )
    attention: Attention = "gate"
    num_classes: int = 12
    output: Output = "full"
    image_size: tuple[int, int, int] = (256, 256, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "stem", "num_classes")
        check_output(self)
        if not self.stages:
            raise ValueError("stages=(): give at least one, at 1/2 of the resolution")


class AttendSegLite(nn.Module):
    """The segmentation network of a config: stem, stages, refinement, head.

    Parameters are named `stem`, `stage1` ..., by stage in the refinement `refine3` ... `refine1`, and `head`.
    """

    config: AttendSegLiteConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Shaped[Array, "b h2 w2 *k"]:
        """Returns logits, or class ids, of images in [0, 1]; `train` updates the batch statistics."""
        config = self.config
        x = ConvNorm(config.stem, 3, strides=2, name="stem")(images, train=train)
        skips = []
        for number, stage in enumerate(config.stages, start=1):
            if number > 1:
                skips.append(x)
                x = max_pool(x, 2)
            x = AttendStage(stage, config.attention, name=f"stage{number}")(x, train=train)
        for number in range(len(skips), 0, -1):
            skip = skips[number - 1]
            x = jnp.concatenate([resize(x, skip.shape[1:3]), skip], axis=-1)
            x = ConvNorm(skip.shape[-1], 3, name=f"refine{number}")(x, train=train)
        return SegmentationHead(config.num_classes, config.output, name="head")(
            x, size=images.shape[1:3], train=train
        )


class AttendStage(nn.Module):
    """Convolutions at one resolution, and what attends to the last.

    Attributes:
      stage: Sizes.
      attention: How the condenser joins.
    """

    stage: LiteStage
    attention: Attention

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w cin"], *, train: bool = False
    ) -> Float[Array, "b h w cout"]:
        """Returns the activations."""
        for number in range(1, self.stage.depth + 1):
            x = ConvNorm(self.stage.width, 3, name=f"conv{number}")(x, train=train)
        inside = self.stage.condensed
        if not inside:
            return x
        config = CondenserConfig(
            mixed=inside, grouped=inside, embedded=inside, attention=self.attention
        )
        return AttentionCondenser(config, name="condenser")(x, train=train)


VARIANTS: Mapping[str, AttendSegLiteConfig] = MappingProxyType(
    {"attendseg_lite": AttendSegLiteConfig()}
)
