"""Which anchor is to name which object: the two stages of S3FD, with static shapes.

Zhang et al., "S3FD: single shot scale-invariant face detector", section 3.2, in the form of RNNPool's
reference implementation, which counts the second stage over an image rather than over each object.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attokit.zoo.iou import box_area, pairwise_iou

_COVERED = 0.5  # share of a box on one that does not count: then it is no mistake either


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """From which intersection over union on an anchor belongs to an object.

    Attributes:
      positive: In the first stage.
      reserve: In the second, above which the best of the others are taken where objects are small.
      good: What an object's best anchor must reach to count twice in how many are taken.
    """

    positive: float = 0.35
    reserve: float = 0.1
    good: float = 0.5

    def __post_init__(self) -> None:
        """Refuses thresholds that do not rise from 0 to 1."""
        if not 0 <= self.reserve <= self.positive <= self.good <= 1:
            raise ValueError(
                f"reserve={self.reserve}, positive={self.positive}, good={self.good}: give rising "
                "numbers from 0 to 1"
            )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Matches:
    """What each anchor of an image is to say.

    Attributes:
      box: Row of the box that it stands for; means nothing where it is not positive.
      positive: Whether it stands for one.
      negative: Whether it is to say "background". Neither, where it lies on what does not count.
    """

    box: Int[Array, " p"]
    positive: Bool[Array, " p"]
    negative: Bool[Array, " p"]


def match_anchors(
    boxes_xyxy: Float[Array, "n 4"],
    labels: Int[Array, " n"],
    anchors_xyxy: Float[Array, "p 4"],
    config: MatchConfig,
) -> Matches:
    """Returns what each anchor of one image is to say; for batches, `jax.vmap` it.

    First, an anchor whose best IoU is at least `positive` belongs to that box, and every box has its best
    anchor, however small the overlap; a later box wins where two want one. Then the best of the anchors
    between `reserve` and `positive` are taken: as many as half the number of boxes whose best anchor is at
    least `positive` plus those at least `good`. A box without an area, or one that meets no
    anchor, has none.

    Args:
      boxes_xyxy: In any unit.
      labels: As `train.padded_boxes` has them.
      anchors_xyxy: In the same unit.
      config: The thresholds.
    """
    objects = labels > 0
    overlaps = pairwise_iou(boxes_xyxy, anchors_xyxy, valid=objects)  # [n, p]
    best_of_box = overlaps.max(1)
    rows = jnp.arange(len(labels), dtype=jnp.int32)
    wishes = jnp.where(best_of_box > 0, rows, -1)
    owner = jnp.full(len(anchors_xyxy), -1, jnp.int32).at[overlaps.argmax(1)].max(wishes)
    best = overlaps.max(0)
    first = (owner >= 0) | (best >= config.positive)
    good = (best_of_box >= config.positive).sum() + (best_of_box >= config.good).sum()
    rest = jnp.where(first | (best <= config.reserve), 0.0, best)
    values, places = jax.lax.top_k(rest, min(len(labels), len(anchors_xyxy)))
    taken = (jnp.arange(len(values)) < good // 2) & (values > 0)
    positive = first | jnp.zeros_like(first).at[places].set(taken)
    return Matches(
        box=jnp.where(owner >= 0, owner, overlaps.argmax(0).astype(jnp.int32)),
        positive=positive,
        negative=~positive & ~is_covered(anchors_xyxy, boxes_xyxy, labels < 0),
    )


def is_covered(
    boxes_xyxy: Float[Array, "n 4"], others_xyxy: Float[Array, "g 4"], count: Bool[Array, " g"]
) -> Bool[Array, " n"]:
    """Returns which boxes lie by more than half of themselves on one of the others that count."""
    others = jnp.where(count[:, None], others_xyxy, 0.0)
    low = jnp.maximum(boxes_xyxy[:, None, :2], others[None, :, :2])
    high = jnp.minimum(boxes_xyxy[:, None, 2:], others[None, :, 2:])
    common = jnp.maximum(high - low, 0.0).prod(-1)  # [n, g]
    return jnp.any(common > _COVERED * box_area(boxes_xyxy)[:, None], axis=1)
