"""Which regions the heads of a two-stage detector learn from, and what they are to say (Girshick 2015, section 2.3)."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attokit.train.balanced_sample import sample_balanced
from attokit.train.matching import is_covered
from attokit.zoo.box_coder import encode_boxes
from attokit.zoo.detections import BOX_WEIGHTS
from attokit.zoo.iou import pairwise_iou


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoISamplingConfig:
    """Which regions are learned from.

    Attributes:
      count: Of an image.
      positive_share: Of them, at most.
      positive: A region that overlaps an object by this IoU holds it; the others hold nothing.
    """

    count: int = 512
    positive_share: float = 0.25
    positive: float = 0.5

    def __post_init__(self) -> None:
        """Refuses a threshold at which everything is an object, or nothing can be."""
        if not 0 < self.positive <= 1:
            raise ValueError(f"positive={self.positive}: give an IoU above 0, up to 1")

    @property
    def positives(self) -> int:
        """The most regions that hold an object: the mask head needs to read no more, they come first."""
        return int(self.count * self.positive_share)


class Regions(NamedTuple):
    """Regions to learn from: those with an object first, then the others, then places that are not filled.

    Attributes:
      boxes_xyxy: In pixels.
      rows: Of their objects; mean nothing where a region has none.
      labels: Class of their objects; 0, the background, where a region has none.
      valid: Which places are filled.
      offsets: To their objects (`zoo.detections.BOX_WEIGHTS`); zeros where there is none.
    """

    boxes_xyxy: Float[Array, "*b t 4"]
    rows: Int[Array, "*b t"]
    labels: Int[Array, "*b t"]
    valid: Bool[Array, "*b t"]
    offsets: Float[Array, "*b t 4"]


def sample_regions(
    key: Array,
    proposals_xyxy: Float[Array, "p 4"],
    proposals_valid: Bool[Array, " p"],
    boxes_xyxy: Float[Array, "g 4"],
    labels: Int[Array, " g"],
    config: RoISamplingConfig,
) -> Regions:
    """Returns a random sample of the proposals and the objects themselves, of one image; `vmap` it for batches.

    The objects are among them, so that the heads have something to learn while proposals are still poor. No
    gradient goes through.

    Args:
      key: Of the sample.
      proposals_xyxy: In pixels.
      proposals_valid: Which of them are real.
      boxes_xyxy: Of the objects, in pixels.
      labels: Of them: a class from 1 on, 0 for rows without a box, below 0 for objects that do not count; a region
        on one of those is not learned from.
      config: Threshold and sizes.
    """
    real = labels > 0
    regions = jnp.concatenate([boxes_xyxy, proposals_xyxy])  # [g + p, 4]
    candidate = jnp.concatenate([real, proposals_valid])
    overlaps = pairwise_iou(regions, boxes_xyxy, valid=candidate, others_valid=real)
    best, rows = overlaps.max(1), overlaps.argmax(1).astype(jnp.int32)
    positive = candidate & (best >= config.positive)
    ignored = is_covered(regions, boxes_xyxy, labels < 0)
    sample = sample_balanced(
        key,
        positive,
        candidate & ~positive & ~ignored,
        count=config.count,
        positive_share=config.positive_share,
    )
    chosen = jnp.where(sample.valid[:, None], regions[sample.places], 0.0)
    rows = rows[sample.places]
    offsets = encode_boxes(boxes_xyxy[rows], chosen, weights=BOX_WEIGHTS)
    return jax.lax.stop_gradient(
        Regions(
            chosen,
            rows,
            jnp.where(sample.positive, labels[rows], 0),
            sample.valid,
            jnp.where(sample.positive[:, None], offsets, 0.0),
        )
    )
