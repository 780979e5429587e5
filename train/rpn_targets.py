"""What the proposal head learns: which anchors hold an object, and where it is (Ren et al. 2015, section 3.1.2).

Deviation: an object that no anchor meets has no anchor; torchvision then takes all of them for its best.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attokit.train.balanced_sample import sample_balanced
from attokit.train.matching import is_covered
from attokit.zoo.box_coder import RPN_WEIGHTS, encode_boxes
from attokit.zoo.iou import pairwise_iou

_LAST_BITS = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class RPNTargetConfig:
    """Which anchors are learned from.

    Attributes:
      positive: An anchor that overlaps an object by this IoU holds it; so does an object's best anchor.
      negative: An anchor below this with all objects holds nothing; between the two it is not learned from.
      count: Anchors of an image that are learned from.
      positive_share: Of them, at most.
    """

    positive: float = 0.7
    negative: float = 0.3
    count: int = 256
    positive_share: float = 0.5

    def __post_init__(self) -> None:
        """Refuses thresholds that are not from 0 to 1, or cross."""
        if not 0 <= self.negative <= self.positive <= 1:
            raise ValueError(
                f"negative={self.negative}, positive={self.positive}: give rising numbers from 0 to 1"
            )


class AnchorMatches(NamedTuple):
    """What each anchor of an image stands for.

    Attributes:
      row: Of the object that it overlaps most; means nothing where it is not positive.
      positive: Whether it holds that object.
      negative: Whether it holds nothing.
    """

    row: Int[Array, " n"]
    positive: Bool[Array, " n"]
    negative: Bool[Array, " n"]


class AnchorTargets(NamedTuple):
    """What some of the anchors of an image are to say; `s` places, of which some may not be filled.

    Attributes:
      places: Of the anchors.
      positive: Which hold an object.
      valid: Which places are filled.
      offsets: From the anchors to their objects (weights of 1); zeros where there is none.
    """

    places: Int[Array, "*b s"]
    positive: Bool[Array, "*b s"]
    valid: Bool[Array, "*b s"]
    offsets: Float[Array, "*b s 4"]


def match_anchors_to_objects(
    boxes_xyxy: Float[Array, "g 4"],
    labels: Int[Array, " g"],
    anchors_xyxy: Float[Array, "n 4"],
    config: RPNTargetConfig,
) -> AnchorMatches:
    """Returns what each anchor of one image stands for.

    Args:
      boxes_xyxy: Of the objects, in pixels.
      labels: Of them: a class from 1 on, 0 for rows without a box, below 0 for objects that do not count, on which
        anchors are neither.
      anchors_xyxy: In pixels.
      config: The thresholds.
    """
    overlaps = pairwise_iou(boxes_xyxy, anchors_xyxy, valid=labels > 0)  # [g, n]
    best = overlaps.max(0)
    of_object = overlaps.max(1, keepdims=True)
    # Every anchor that overlaps an object as much as its best one, so that none is without (ties too). Not by
    # equality: a compiler may compute both sides apart, with another last bit.
    low_quality = jnp.any((overlaps >= of_object * (1 - _LAST_BITS)) & (of_object > 0), axis=0)
    positive = (best >= config.positive) | low_quality
    ignored = is_covered(anchors_xyxy, boxes_xyxy, labels < 0)
    return AnchorMatches(
        overlaps.argmax(0).astype(jnp.int32),
        positive,
        (best < config.negative) & ~positive & ~ignored,
    )


def anchor_targets(
    key: Array,
    boxes_xyxy: Float[Array, "g 4"],
    labels: Int[Array, " g"],
    anchors_xyxy: Float[Array, "n 4"],
    config: RPNTargetConfig,
) -> AnchorTargets:
    """Returns a random sample of the anchors of one image, and what they are to say; `vmap` it for batches.

    Args:
      key: Of the sample.
      boxes_xyxy: Of the objects, in pixels.
      labels: As `match_anchors_to_objects` has them.
      anchors_xyxy: In pixels.
      config: Thresholds and sizes.
    """
    matches = match_anchors_to_objects(boxes_xyxy, labels, anchors_xyxy, config)
    sample = sample_balanced(
        key,
        matches.positive,
        matches.negative,
        count=config.count,
        positive_share=config.positive_share,
    )
    objects = boxes_xyxy[matches.row[sample.places]]
    offsets = encode_boxes(objects, anchors_xyxy[sample.places], weights=RPN_WEIGHTS)
    offsets = jnp.where(sample.positive[:, None], offsets, 0.0)
    return jax.lax.stop_gradient(
        AnchorTargets(sample.places, sample.positive, sample.valid, offsets)
    )
