"""Face detectors with RNNPool as their first pooling (Saha et al. 2020, arXiv 2002.11921).

A single-shot detector in the manner of S3FD: inverted residuals after RNNPool, one prior box per
pixel of up to six maps, the first maps normalized (L2Norm), several background logits on the first. The
four networks are those of the reference implementation (microsoft/EdgeML, Face_Detection), with its
padding, epsilon and parameter counts, so that its weights can be read (`zoo.edgeml`).

Deviation: the paper's tables differ from the reference implementation, which these follow: Face-C's first
block does not widen and its heads are 5x5, 1x1 and 3x3; Face-Quant has 8 states, not 4.
Deviation: the paper's Face-A and Face-B were never released; their patch size is not stated.
Deviation: convolutions start by He's rule, as in every network here; in the reference implementation they keep
PyTorch's own start, since the loop that is to change it reaches none of them.
"""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.convolution import Conv, Padding
from attokit.zoo.l2_norm import L2Norm
from attokit.zoo.max_out import max_out_background
from attokit.zoo.mobilenet_v2 import InvertedResidual
from attokit.zoo.prior_boxes import prior_boxes_cxcywh
from attokit.zoo.rnnpool import RNNPool
from attokit.zoo.sizes import check_choice, check_positive
from attokit.zoo.standardize import check_standardization, standardize

_EPSILON = 1e-5
_BACKGROUND = 3  # logits for it on the first map
_PATCH, _STRIDE = 8, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Inverted residuals at one size of the map, and the head that reads them.

    Attributes:
      expansion: How many times wider the middle of a block is.
      features: Output channels.
      blocks: How many.
      stride: Of the first block.
      head_kernel: Side of the head's convolutions; None where no head reads the map.
      norm_scale: Start of the weights of the L2Norm before the head; None where there is none.
    """

    expansion: int
    features: int
    blocks: int
    stride: int
    head_kernel: int | None = 3
    norm_scale: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNPoolFaceConfig:
    """Sizes of one detector.

    Attributes:
      stem: Channels and stride of the convolutions before RNNPool.
      stem_norm_scale: Start of the L2Norm weights where a head reads the stem too, through
        a convolution of its own with stride 2; None where it does not.
      hidden: States of both cells of RNNPool, which makes four times as many channels.
      stages: What follows.
      prior_steps: Pixels of the image from prior box to prior box, per map with a head.
      prior_sizes: Sides of the prior boxes in pixels of the image, per map with a head.
      padding: Of strided convolutions: "symmetric" as PyTorch has it, which is an operator and a copy of the
        map in a file; "same" as TFLite's convolutions have it themselves. Weights of EdgeML want the first.
      freeze_gate_scalars: Fixes what RNNPool's zeta and nu come to at 1 and 0; see `zoo.RNNPool`.
      input_mean: Subtracted from images in [0, 1], per channel; None where the network takes them as they are.
      input_std: What they are divided by then.
      num_classes: Background and what is looked for.
      image_size: Height, width and channels that `zoo.info` counts at.
    """

    stem: tuple[tuple[int, int], ...] = ()
    stem_norm_scale: float | None = None
    hidden: int
    stages: tuple[Stage, ...]
    prior_steps: tuple[int, ...]
    prior_sizes: tuple[int, ...]
    padding: Literal["symmetric", "same"] = "symmetric"
    freeze_gate_scalars: bool = False
    input_mean: tuple[float, ...] | None
    input_std: tuple[float, ...] | None
    num_classes: int = 2
    image_size: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "hidden")
        check_choice(self, "padding", "symmetric", "same")
        check_standardization(self)
        if self.num_classes < 2:
            raise ValueError(
                f"num_classes={self.num_classes}: give at least 2, the background counts as one"
            )
        heads = sum(stage.head_kernel is not None for stage in self.stages)
        heads += self.stem_norm_scale is not None
        if not heads == len(self.prior_steps) == len(self.prior_sizes):
            raise ValueError(
                f"{heads} heads, prior_steps={self.prior_steps}, prior_sizes={self.prior_sizes}: give one "
                "step and one size per head"
            )
        if self.stem_norm_scale is not None and not self.stem:
            raise ValueError("stem_norm_scale is for a head on the stem: give a stem, or None")

    @property
    def multiple(self) -> int:
        """What the sides of an image must be a multiple of, so that boxes and maps meet."""
        return _STRIDE * int(np.prod([stride for _, stride in self.stem], dtype=int))

    def priors(self, image_size: tuple[int, int]) -> Float[np.ndarray, "n 4"]:
        """Returns the prior boxes of an image of some height and width, as centre and size in shares of it.

        Raises:
          ValueError: if the network does not take that size.
        """
        self.check_image_size(*image_size)
        return prior_boxes_cxcywh(image_size, steps=self.prior_steps, sizes=self.prior_sizes)

    def check_image_size(self, height: int, width: int) -> None:
        """Refuses sizes whose maps would not meet the prior boxes.

        Raises:
          ValueError: if a side is no multiple of `multiple`, or smaller than a patch.
        """
        least = _PATCH // _STRIDE * self.multiple
        if height % self.multiple or width % self.multiple or min(height, width) < least:
            raise ValueError(
                f"an image of {height}x{width}: this detector takes multiples of {self.multiple} pixels from "
                f"{least} on; resize or pad it"
            )


class RNNPoolFace(nn.Module):
    """The detector of a config: stem, RNNPool, inverted residuals, and heads on several maps.

    Parameters are named `stem1`, `pool`, `stage1_block1` ...; `norm1`, `boxes1`, `scores1` belong to the first
    map with a head; `boxes1_stem`, `scores1_stem` reduce the stem's.
    """

    config: RNNPoolFaceConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> dict[str, Float[Array, "b n k"]]:
        """Returns what the heads say of images in [0, 1]; `train` updates the batch statistics.

        Returns:
          "boxes" [b, n, 4], offsets from the prior boxes (`zoo.box_coder`), and "scores" [b, n, k],
          logits of which the first is the background's; n is in the order of `config.priors`.

        Raises:
          ValueError: if the network does not take images of that size.
        """
        config = self.config
        config.check_image_size(*images.shape[1:3])
        x = standardize(images, config.input_mean, config.input_std)
        sources = []
        for number, (features, stride) in enumerate(config.stem, start=1):
            x = self._block(features, stride, f"stem{number}")(x, train=train)
        if config.stem_norm_scale is not None:
            sources.append((L2Norm(config.stem_norm_scale, name="norm1")(x), 3, True))
        x = RNNPool(
            (config.hidden, config.hidden),
            _PATCH,
            stride=_STRIDE,
            replicate_pad=True,
            freeze_gate_scalars=config.freeze_gate_scalars,
            name="pool",
        )(x)
        for number, stage in enumerate(config.stages, start=1):
            for block in range(1, stage.blocks + 1):
                x = InvertedResidual(
                    features=stage.features,
                    expansion=stage.expansion,
                    stride=stage.stride if block == 1 else 1,
                    padding=self._padding(3),
                    epsilon=_EPSILON,
                    name=f"stage{number}_block{block}",
                )(x, train=train)
            if stage.head_kernel is not None:
                source = x
                if stage.norm_scale is not None:
                    source = L2Norm(stage.norm_scale, name=f"norm{len(sources) + 1}")(x)
                sources.append((source, stage.head_kernel, False))
        boxes, scores = [], []
        for number, (source, kernel, reduced) in enumerate(sources, start=1):
            head = functools.partial(self._head, source, kernel, reduced, train)
            boxes.append(_listed(head(f"boxes{number}", 4)))
            extra = _BACKGROUND - 1 if number == 1 else 0
            logits = _listed(head(f"scores{number}", config.num_classes + extra))
            scores.append(max_out_background(logits, _BACKGROUND) if extra else logits)
        return {"boxes": jnp.concatenate(boxes, 1), "scores": jnp.concatenate(scores, 1)}

    def _head(
        self, x: Array, kernel: int, reduced: bool, train: bool, name: str, features: int
    ) -> Array:
        """Returns what one head says of a map; the stem's map is halved first."""
        if reduced:
            x = self._block(8, 2, f"{name}_stem")(x, train=train)
        return Conv(features, kernel, padding=self._padding(kernel), use_bias=True, name=name)(x)

    def _block(self, features: int, stride: int, name: str) -> ConvNorm:
        return ConvNorm(
            features,
            3,
            strides=stride,
            padding=self._padding(3),
            activation="relu6",
            epsilon=_EPSILON,
            name=name,
        )

    def _padding(self, kernel: int) -> Padding:
        symmetric = ((kernel // 2, kernel // 2),) * 2
        return symmetric if self.config.padding == "symmetric" else "SAME"


def _listed(x: Float[Array, "b h w c"]) -> Float[Array, "b n c"]:
    return x.reshape(x.shape[0], -1, x.shape[-1])


# Means of the reference implementation in bytes; it does not divide, so an image spans about 255.
_RED, _GREEN, _BLUE = 123.0, 117.0, 104.0
_GREY = 0.299 * _RED + 0.587 * _GREEN + 0.114 * _BLUE

_colour_480x640 = functools.partial(
    RNNPoolFaceConfig,
    input_mean=(_RED / 255, _GREEN / 255, _BLUE / 255),
    input_std=(1 / 255, 1 / 255, 1 / 255),
    prior_steps=(4, 8, 16, 32, 64, 128),
    prior_sizes=(16, 32, 64, 128, 256, 512),
    image_size=(480, 640, 3),
)
_grey_240x320 = functools.partial(
    RNNPoolFaceConfig,
    input_mean=(_GREY / 255,),
    input_std=(1 / 255,),
    prior_steps=(8, 8, 16, 16),
    prior_sizes=(8, 16, 32, 48),
    image_size=(240, 320, 1),
)


def _stage(
    expansion: int,
    features: int,
    blocks: int,
    stride: int,
    kernel: int | None = 3,
    scale: float | None = None,
) -> Stage:
    return Stage(
        expansion=expansion,
        features=features,
        blocks=blocks,
        stride=stride,
        head_kernel=kernel,
        norm_scale=scale,
    )


VARIANTS: Mapping[str, RNNPoolFaceConfig] = MappingProxyType(
    {
        "rnnpool_face_c": _colour_480x640(
            hidden=16,
            stages=(
                _stage(1, 24, 1, 1, None),
                _stage(6, 24, 1, 1, 5, 10.0),
                _stage(6, 32, 3, 2, 5, 8.0),
                _stage(6, 64, 4, 2, 5, 5.0),
                _stage(6, 96, 3, 2, 1),
                _stage(6, 160, 2, 2, 1),
                _stage(6, 320, 1, 2),
            ),
        ),
        "rnnpool_face_m4": _grey_240x320(
            stem=((4, 2),),
            hidden=16,
            stages=(
                _stage(2, 32, 1, 1, 3, 10.0),
                _stage(2, 32, 1, 1, 3, 8.0),
                _stage(2, 64, 1, 2, 3, 5.0),
                _stage(2, 64, 1, 1),
            ),
        ),
        "rnnpool_face_quant": _colour_480x640(
            stem=((4, 2), (4, 1)),
            stem_norm_scale=10.0,
            hidden=8,
            stages=(
                _stage(2, 16, 4, 1, 3, 8.0),
                _stage(2, 24, 4, 2, 3, 5.0),
                _stage(2, 32, 2, 2),
                _stage(2, 64, 1, 2),
                _stage(2, 96, 1, 2),
            ),
        ),
        "rnnpool_face_qvga": _grey_240x320(
            stem=((4, 2),),
            hidden=16,
            stages=(
                _stage(2, 32, 4, 1, 3, 10.0),
                _stage(2, 32, 4, 1, 3, 8.0),
                _stage(2, 96, 3, 2, 3, 5.0),
                _stage(2, 128, 3, 1),
            ),
        ),
    }
)
