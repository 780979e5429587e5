"""Intersection over union of boxes, as x and y of two corners (xyxy)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def box_area(boxes_xyxy: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Returns the areas of boxes; those of no or negative width or height have none."""
    size = jnp.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def pairwise_iou(
    boxes_xyxy: Float[Array, "n 4"],
    others_xyxy: Float[Array, "m 4"],
    *,
    valid: Bool[Array, " n"] | None = None,
    others_valid: Bool[Array, " m"] | None = None,
) -> Float[Array, "n m"]:
    """Returns the intersection over union of every box with every other one, in [0, 1].

    It is 0, and its gradient finite, where a box has no area, and where one is not valid: whatever padding holds,
    NaN too.

    Args:
      boxes_xyxy: In any unit.
      others_xyxy: In the same unit.
      valid: Which boxes are real; all if None.
      others_valid: Which of the others are.
    """
    boxes, others = _masked(boxes_xyxy, valid), _masked(others_xyxy, others_valid)
    low = jnp.maximum(boxes[:, None, :2], others[None, :, :2])
    high = jnp.minimum(boxes[:, None, 2:], others[None, :, 2:])
    size = jnp.maximum(high - low, 0.0)  # [n, m, 2]
    overlap = size[..., 0] * size[..., 1]
    overlap = jnp.where(_pairs(box_area(boxes) > 0, box_area(others) > 0), overlap, 0.0)
    union = box_area(boxes)[:, None] + box_area(others)[None, :] - overlap
    return overlap / jnp.where(overlap > 0, union, 1.0)


def _pairs(left: Bool[Array, " n"], right: Bool[Array, " m"]) -> Bool[Array, "n m"]:
    return left[:, None] & right[None, :]


def _masked(boxes: Float[Array, "n 4"], valid: Bool[Array, " n"] | None) -> Float[Array, "n 4"]:
    return boxes if valid is None else jnp.where(valid[:, None], boxes, 0.0)
