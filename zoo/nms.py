"""Non-max suppression with static shapes, exact for every threshold.

Box after box in order of score is kept unless one kept before overlaps it too much.  As equations:
keep[j] = no i before j with keep[i] and IoU[i, j] > threshold.  Their one solution is the fixed point that
starting from "keep all" leads to: after t turns the first t boxes are settled, and in practice
all of them after as many turns as the longest chain of overlaps, which is a few.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attokit.zoo.iou import pairwise_iou


def non_max_suppression(
    boxes_xyxy: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    *,
    iou_threshold: float,
    max_outputs: int,
    score_threshold: float = -jnp.inf,
    groups: Int[Array, " n"] | None = None,
) -> tuple[Int[Array, " max_outputs"], Bool[Array, " max_outputs"]]:
    """Returns the boxes that no better box overlaps too much, best first, and which places are filled.

    Boxes of equal score count in the order given.  Boxes of no size overlap nothing, so they stay.  Works under
    `jit`, `vmap` and on all platforms; memory grows as n squared, so take the best few thousand first.

    Args:
      boxes_xyxy: In any unit.
      scores: Higher is better; NaN is below every threshold.
      iou_threshold: A box goes if its IoU with a kept one is above this.
      max_outputs: Places in the answer, those without a box are 0 and not valid.
      score_threshold: Boxes must be above this; the default leaves out scores of -inf, for padding.
      groups: Boxes remove only those of their own group, such as a class; None if all are of one.

    Raises:
      ValueError: if the threshold is not in [0, 1], or there is no place for an answer.
    """
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold={iou_threshold}: give a share from 0 to 1")
    if max_outputs < 1:
        raise ValueError(f"max_outputs={max_outputs}: give at least 1")
    candidate = scores > score_threshold
    order = jnp.argsort(jnp.where(candidate, -scores, jnp.inf), stable=True)
    candidate, boxes = candidate[order], boxes_xyxy[order]
    suppresses = _suppresses(boxes, candidate, iou_threshold)
    if groups is not None:
        suppresses &= groups[order][:, None] == groups[order][None, :]
    keep = _settled(suppresses, candidate)
    places = jnp.argsort(~keep, stable=True)[:max_outputs]
    missing = max_outputs - len(places)
    valid = jnp.pad(keep[places], (0, missing))
    indices = jnp.where(valid, jnp.pad(order[places], (0, missing)), 0)
    return indices, valid


def _suppresses(
    boxes: Float[Array, "n 4"], candidate: Bool[Array, " n"], iou_threshold: float
) -> Bool[Array, "n n"]:
    """Returns whether row i, if kept, removes column j: it is better, and overlaps it too much."""
    overlap = pairwise_iou(boxes, boxes, valid=candidate, others_valid=candidate)
    order = jnp.arange(len(boxes))
    return (overlap > iou_threshold) & (order[:, None] < order[None, :])


def _settled(suppresses: Bool[Array, "n n"], candidate: Bool[Array, " n"]) -> Bool[Array, " n"]:
    """Returns the fixed point of keep = candidate and not suppressed by what is kept."""

    def turn(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        new = candidate & ~jnp.any(suppresses & keep[:, None], axis=0)
        return new, jnp.any(new != keep)

    keep, _ = jax.lax.while_loop(lambda state: state[1], turn, (candidate, jnp.bool_(True)))
    return keep
