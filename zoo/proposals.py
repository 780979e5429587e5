"""The first stage of Faster R-CNN: where might there be anything? (Ren et al. 2015, arXiv 1506.01497).

A head says of every anchor how likely it holds an object and how to move it; the best of them, without those that
overlap a better one, are the proposals. Their number is fixed and places without one are marked, so shapes never
depend on what is in the image.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attokit.zoo.box_coder import RPN_WEIGHTS, decode_boxes
from attokit.zoo.composite import composite
from attokit.zoo.convolution import Conv
from attokit.zoo.initialization import of_deviation
from attokit.zoo.nms import non_max_suppression
from attokit.zoo.sizes import check_positive, check_share
from attokit.zoo.spatial_conv import SpatialConv, SpatialKind


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProposalConfig:
    """How many proposals, and which.

    Attributes:
      count: Places for proposals; fewer where the image has fewer anchors.
      per_level: How many of the best anchors of each map are looked at.
      iou_threshold: A box goes if it overlaps a better one of its map more than this.
      least_side: Of a proposal, in pixels.
    """

    count: int = 1000
    per_level: int = 1000
    iou_threshold: float = 0.7
    least_side: float = 1e-3

    def __post_init__(self) -> None:
        """Refuses numbers that make no proposals."""
        check_positive(self, "count", "per_level", "least_side")
        check_share(self, "iou_threshold")


class Proposals(NamedTuple):
    """Boxes that may hold something, best first; places without one have zeros.

    Attributes:
      boxes_xyxy: In pixels, inside the image.
      scores: Logits.
      valid: Which places are filled.
    """

    boxes_xyxy: Float[Array, "*b p 4"]
    scores: Float[Array, "*b p"]
    valid: Bool[Array, "*b p"]


class ProposalHead(nn.Module):
    """What is said of the anchors of every map, by the same layers: `conv`, `objectness` and `boxes`.

    Attributes:
      anchors: Of a cell.
      kind: Of the 3x3 convolution.
    """

    anchors: int
    kind: SpatialKind = "dense"

    @nn.compact
    def __call__(
        self, maps: Sequence[Float[Array, "b _ _ c"]]
    ) -> tuple[Float[Array, "b n"], Float[Array, "b n 4"]]:
        """Returns logits, and offsets from the anchors (`box_coder`, weights of 1), in the anchors' order."""
        conv = SpatialConv(maps[0].shape[-1], self.kind, name="conv")
        objectness = Conv(
            self.anchors, 1, use_bias=True, kernel_init=of_deviation(0.01), name="objectness"
        )
        boxes = Conv(
            4 * self.anchors, 1, use_bias=True, kernel_init=of_deviation(0.01), name="boxes"
        )
        scores, offsets = [], []
        for x in maps:
            hidden = conv(x)
            scores.append(objectness(hidden).reshape(len(x), -1))  # [b, h*w*anchors]
            offsets.append(boxes(hidden).reshape(len(x), -1, 4))
        return jnp.concatenate(scores, axis=1), jnp.concatenate(offsets, axis=1)


def propose(
    objectness: Float[Array, " n"],
    offsets: Float[Array, "n 4"],
    anchors_xyxy: Sequence[Float[np.ndarray, "_ 4"]],
    *,
    image_size: tuple[int, int],
    config: ProposalConfig,
) -> Proposals:
    """Returns the proposals of one image; no gradient goes through them.

    A jaxpr shows it as the composite "propose".

    Args:
      objectness: Logits of the anchors of all maps.
      offsets: From the anchors.
      anchors_xyxy: Of each map, in pixels.
      image_size: Height and width, to which boxes are clipped.
      config: How many, and which.

    Raises:
      ValueError: if there are not as many logits as anchors.
    """
    counts = tuple(map(len, anchors_xyxy))
    if sum(counts) != len(objectness):
        raise ValueError(
            f"{len(objectness)} logits and {sum(counts)} anchors: give the anchors of the maps' sizes"
        )
    objectness, offsets = jax.lax.stop_gradient((objectness, offsets))
    return composite(
        "propose",
        best_proposals,
        objectness,
        offsets,
        np.concatenate(anchors_xyxy),
        counts=counts,
        image_size=tuple(image_size),
        config=config,
    )


def best_proposals(
    objectness: Float[Array, " n"],
    offsets: Float[Array, "n 4"],
    anchors_xyxy: Float[Array, "n 4"],
    *,
    counts: Sequence[int],
    image_size: tuple[int, int],
    config: ProposalConfig,
) -> Proposals:
    """Returns what `propose` does.

    Args:
      objectness: Logits of the anchors of all maps.
      offsets: From the anchors.
      anchors_xyxy: Of all maps, one after the other.
      counts: How many anchors each map has.
      image_size: Height and width, to which boxes are clipped.
      config: How many, and which.
    """
    boxes, scores, start = [], [], 0
    for count in counts:
        own = slice(start, start + count)
        start += count
        level = _best_of_level(objectness[own], offsets[own], anchors_xyxy[own], image_size, config)
        boxes.append(level[0])
        scores.append(level[1])
    total = sum(map(len, scores))
    best, places = jax.lax.top_k(jnp.concatenate(scores), min(config.count, total))
    valid = best > -jnp.inf
    kept = jnp.where(valid[:, None], jnp.concatenate(boxes)[places], 0.0)
    return Proposals(kept, jnp.where(valid, best, 0.0), valid)


def _best_of_level(
    objectness: Float[Array, " n"],
    offsets: Float[Array, "n 4"],
    anchors: Float[Array, "n 4"],
    image_size: tuple[int, int],
    config: ProposalConfig,
) -> tuple[Float[Array, "k 4"], Float[Array, " k"]]:
    """Returns the best boxes of one map; scores are -inf where a place has none."""
    scores, places = jax.lax.top_k(objectness, min(config.per_level, len(anchors)))
    boxes = decode_boxes(offsets[places], anchors[places], weights=RPN_WEIGHTS)
    boxes = clip_boxes(boxes, image_size)
    scores = jnp.where(has_sides(boxes, config.least_side), scores, -jnp.inf)
    kept, valid = non_max_suppression(
        boxes,
        scores,
        iou_threshold=config.iou_threshold,
        max_outputs=min(config.count, len(scores)),
    )
    return boxes[kept], jnp.where(valid, scores[kept], -jnp.inf)


def clip_boxes(
    boxes_xyxy: Float[Array, "*n 4"], image_size: tuple[int, int]
) -> Float[Array, "*n 4"]:
    """Returns what of boxes lies in an image of some height and width."""
    height, width = image_size
    high = jnp.asarray([width, height] * 2, boxes_xyxy.dtype)
    return jnp.clip(boxes_xyxy, 0.0, high.reshape((1,) * (boxes_xyxy.ndim - 1) + (4,)))


def has_sides(boxes_xyxy: Float[Array, "*n 4"], least: float) -> Bool[Array, "*n"]:
    """Returns which boxes are at least so wide and so high."""
    return jnp.all(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2] >= least, axis=-1)
