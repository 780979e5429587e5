"""Boxes as offsets from anchors, which networks learn, and back.

Centres in units of the anchor's size, sizes as logarithms of their ratio to it, each times a weight
that brings them near unit variance.  SSD divides by "variances" instead: weights are their inverses.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

SSD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # variances 0.1 and 0.2; Faster R-CNN's box head has them too
RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
LARGEST_RATIO = math.log(
    1000 / 16
)  # where Faster R-CNN clamps logarithms, so that exp stays finite

_LEAST = 1e-6  # of a size whose logarithm is taken: padding and degenerate boxes stay finite


def weights_of_variances(variances: Sequence[float]) -> tuple[float, float, float, float]:
    """Returns the weights that stand for SSD's variances of centres and of sizes.

    Raises:
      ValueError: if there are not two, or one is not above 0.
    """
    if len(variances) != 2 or min(variances) <= 0:
        raise ValueError(f"variances={variances}: give two positive numbers, for centres and sizes")
    centre, size = (1 / variance for variance in variances)
    return centre, centre, size, size


def encode_boxes(
    boxes_xyxy: Float[Array, "*n 4"],
    anchors_xyxy: Float[Array, "*n 4"],
    *,
    weights: Sequence[float] = SSD_WEIGHTS,
) -> Float[Array, "*n 4"]:
    """Returns the offsets that lead from anchors to boxes; finite for boxes of no size too.

    `decode_boxes` is its inverse for boxes and anchors that have a size.

    Args:
      boxes_xyxy: In any unit.
      anchors_xyxy: In the same unit; its axes are those of the boxes, or 1.
      weights: Of x, y, width and height.
    """
    boxes, anchors = xyxy_to_cxcywh(boxes_xyxy), xyxy_to_cxcywh(anchors_xyxy)
    anchor_size = jnp.maximum(anchors[..., 2:], _LEAST)
    centres = (boxes[..., :2] - anchors[..., :2]) / anchor_size
    ratios = jnp.log(jnp.maximum(boxes[..., 2:], _LEAST) / anchor_size)
    return jnp.concatenate([centres, ratios], axis=-1) * _row(weights, boxes)


def decode_boxes(
    offsets: Float[Array, "*n 4"],
    anchors_xyxy: Float[Array, "*n 4"],
    *,
    weights: Sequence[float] = SSD_WEIGHTS,
    largest_ratio: float | None = LARGEST_RATIO,
) -> Float[Array, "*n 4"]:
    """Returns the boxes (xyxy) that offsets from anchors name, in the anchors' unit.

    Args:
      offsets: What `encode_boxes` returns.
      anchors_xyxy: Its axes are those of the offsets, or 1.
      weights: Of x, y, width and height.
      largest_ratio: Where the logarithm of the ratio of sizes is cut; None nowhere, as SSD has it.
    """
    anchors = xyxy_to_cxcywh(anchors_xyxy)
    offsets = offsets / _row(weights, offsets)
    ratios = offsets[..., 2:]
    if largest_ratio is not None:
        ratios = jnp.minimum(ratios, largest_ratio)
    centres = anchors[..., :2] + offsets[..., :2] * anchors[..., 2:]
    return cxcywh_to_xyxy(jnp.concatenate([centres, anchors[..., 2:] * jnp.exp(ratios)], axis=-1))


def xyxy_to_cxcywh(boxes_xyxy: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Returns centre and size of boxes that are given by two corners."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def cxcywh_to_xyxy(boxes_cxcywh: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Returns the two corners of boxes that are given by centre and size."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def _row(weights: Sequence[float], like: Array) -> Array:
    if len(weights) != 4 or min(weights) <= 0:
        raise ValueError(f"weights={weights}: give four positive numbers, of x, y, width, height")
    return jnp.asarray(weights, like.dtype).reshape((1,) * (like.ndim - 1) + (4,))
