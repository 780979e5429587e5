"""What a two-stage detector finds: the best boxes of its regions, one class after the other."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attokit.zoo.box_coder import SSD_WEIGHTS, decode_boxes
from attokit.zoo.composite import composite
from attokit.zoo.nms import non_max_suppression
from attokit.zoo.proposals import clip_boxes, has_sides
from attokit.zoo.sizes import check_positive, check_share

BOX_WEIGHTS = SSD_WEIGHTS  # Faster R-CNN's second stage has the same


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """How many detections, and which.

    Attributes:
      count: Places for detections.
      candidates: How many of the best pairs of a region and a class are looked at.
      score_threshold: Probabilities must be above this.
      iou_threshold: A box goes if it overlaps a better one of its class more than this.
      least_side: Of a box, in pixels.
    """

    count: int = 100
    candidates: int = 1000
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    least_side: float = 1e-2

    def __post_init__(self) -> None:
        """Refuses numbers that make no detections."""
        check_positive(self, "count", "candidates", "least_side")
        check_share(self, "iou_threshold", "score_threshold")


class Detections(NamedTuple):
    """Boxes with a class each, best first; places without one have zeros.

    Attributes:
      boxes_xyxy: In pixels, inside the image.
      scores: Probabilities.
      classes: From 1 on; 0 is the background.
      valid: Which places are filled.
    """

    boxes_xyxy: Float[Array, "*b d 4"]
    scores: Float[Array, "*b d"]
    classes: Int[Array, "*b d"]
    valid: Bool[Array, "*b d"]


def detect(
    logits: Float[Array, "t k"],
    offsets: Float[Array, "t k2 4"],
    boxes_xyxy: Float[Array, "t 4"],
    valid: Bool[Array, " t"],
    *,
    image_size: tuple[int, int],
    config: DetectionConfig,
) -> Detections:
    """Returns the detections of one image; a jaxpr shows it as the composite "detect".

    Args:
      logits: Of every region; the first class is the background.
      offsets: From the boxes of the regions (weights `BOX_WEIGHTS`), for every class or one for all.
      boxes_xyxy: Of the regions, in pixels.
      valid: Which regions are real.
      image_size: Height and width, to which boxes are clipped.
      config: How many, and which.
    """
    return composite(
        "detect",
        best_detections,
        logits,
        offsets,
        boxes_xyxy,
        valid,
        image_size=tuple(image_size),
        config=config,
    )


def best_detections(
    logits: Float[Array, "t k"],
    offsets: Float[Array, "t k2 4"],
    boxes_xyxy: Float[Array, "t 4"],
    valid: Bool[Array, " t"],
    *,
    image_size: tuple[int, int],
    config: DetectionConfig,
) -> Detections:
    """Returns what `detect` does."""
    t, k = logits.shape
    scores = jax.nn.softmax(logits, axis=-1)[:, 1:]  # [t, k - 1]
    sought = valid[:, None] & (scores > config.score_threshold)
    flat = jnp.where(sought, scores, -jnp.inf).reshape(-1)
    scores, places = jax.lax.top_k(flat, min(config.candidates, t * (k - 1)))
    region, classes = places // (k - 1), places % (k - 1) + 1
    shape = classes if offsets.shape[1] > 1 else jnp.zeros_like(classes)
    boxes = decode_boxes(offsets[region, shape], boxes_xyxy[region], weights=BOX_WEIGHTS)
    boxes = clip_boxes(boxes, image_size)
    scores = jnp.where(has_sides(boxes, config.least_side), scores, -jnp.inf)
    kept, filled = non_max_suppression(
        boxes,
        scores,
        iou_threshold=config.iou_threshold,
        max_outputs=config.count,
        groups=classes,
    )
    return Detections(
        jnp.where(filled[:, None], boxes[kept], 0.0),
        jnp.where(filled, scores[kept], 0.0),
        jnp.where(filled, classes[kept], 0),
        filled,
    )
