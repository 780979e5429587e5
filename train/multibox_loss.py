"""MultiBox: what a single-shot detector learns, from positive anchors and the hardest negative ones.

Liu et al., "SSD: single shot multibox detector", section 2.2.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attokit.train.anchors import Anchors
from attokit.train.losses import softmax_cross_entropy
from attokit.train.matching import MatchConfig, match_anchors


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MultiBoxSums:
    """Of every image, sums over its anchors.

    Attributes:
      location: Smooth L1 of the offsets of positive anchors.
      confidence: Cross entropy of positive and of hard negative anchors, in nats.
      weight: How many anchors the image counts as: its positive ones, or 1 if it has none.
    """

    location: Float[Array, " b"]
    confidence: Float[Array, " b"]
    weight: Float[Array, " b"]

    @property
    def total(self) -> Float[Array, " b"]:
        """Location and confidence together, as the paper weights them: alike."""
        return self.location + self.confidence


def smooth_l1(errors: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns x^2 / 2 where |x| is below 1, and |x| - 1/2 beyond (Girshick, "Fast R-CNN")."""
    size = jnp.abs(errors)
    return jnp.where(size < 1, 0.5 * size**2, size - 0.5)


def hardest(
    costs: Float[Array, " p"], candidates: Bool[Array, " p"], count: Int[Array, ""]
) -> Bool[Array, " p"]:
    """Returns which candidates cost most: `count` of them, or all if there are fewer.

    Of equal costs the earlier count as harder. The number may depend on data; shapes do not.
    """
    order = jnp.argsort(jnp.where(candidates, -costs, jnp.inf), stable=True)
    ranks = jnp.zeros_like(order).at[order].set(jnp.arange(len(order), dtype=order.dtype))
    return candidates & (ranks < count)


def multibox_sums(
    offsets: Float[Array, "b p 4"],
    logits: Float[Array, "b p k"],
    boxes_xyxy: Float[Array, "b n 4"],
    labels: Int[Array, "b n"],
    anchors: Anchors,
    *,
    match: MatchConfig | None = None,
    negatives: int = 3,
) -> MultiBoxSums:
    """Returns the sums of each image.

    Deviation: an image without a positive anchor has as many negatives as one with one, so that what holds
    no object teaches not to find one; in the reference implementation it costs nothing.

    Args:
      offsets: From the anchors.
      logits: Of classes, the first of the background.
      boxes_xyxy: Padded, in pixels; see `train.padded_boxes`.
      labels: Theirs.
      anchors: In the order of offsets and logits.
      match: When an anchor belongs to an object; the defaults if None.
      negatives: At most for each positive anchor.
    """
    one_image = functools.partial(
        _sums, anchors=anchors, match=match or MatchConfig(), negatives=negatives
    )
    return jax.vmap(one_image)(
        offsets.astype(jnp.float32), logits.astype(jnp.float32), boxes_xyxy, labels
    )


def _sums(
    offsets: Float[Array, "p 4"],
    logits: Float[Array, "p k"],
    boxes: Float[Array, "n 4"],
    labels: Int[Array, " n"],
    **settings: Any,
) -> MultiBoxSums:
    anchors = settings["anchors"]
    matches = match_anchors(boxes, labels, jnp.asarray(anchors.boxes_xyxy), settings["match"])
    positive = matches.positive
    # Where no object is meant an anchor is its own target: padding may hold anything.
    targets = jnp.where(positive[:, None], boxes[matches.box], anchors.boxes_xyxy)
    location = smooth_l1(offsets - anchors.encode(targets)).sum(-1)
    classes = jnp.where(positive, labels[matches.box], 0)
    confidence = softmax_cross_entropy(logits, classes)
    count = jnp.maximum(positive.sum(), 1)
    hard = hardest(
        jax.lax.stop_gradient(confidence), matches.negative, settings["negatives"] * count
    )
    return MultiBoxSums(
        location=jnp.where(positive, location, 0).sum(),
        confidence=jnp.where(positive | hard, confidence, 0).sum(),
        weight=count.astype(jnp.float32),
    )


def per_image(sums: MultiBoxSums) -> Float[Array, " b"]:
    """Returns a loss per image whose mean is the sum over the batch by the sum of its weights.

    So every positive anchor of a batch counts alike, as in the paper, in whatever image it is.
    """
    return sums.total * (len(sums.weight) / sums.weight.sum())
