"""Choosing boxes on the host, in NumPy: what lies between the networks of a two-stage detector.

The same as `zoo.proposals.propose` and `zoo.detections.detect`, for hosts that have nothing but NumPy, and
short enough to be written again in another language.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

LARGEST_RATIO = np.float32(np.log(1000 / 16))


def propose_boxes(
    objectness: Float[np.ndarray, " n"],
    offsets: Float[np.ndarray, "n 4"],
    anchors_xyxy: Sequence[Float[np.ndarray, "_ 4"]],
    *,
    image_size: tuple[int, int],
    count: int,
    per_level: int,
    iou_threshold: float,
    least_side: float,
) -> tuple[Float[np.ndarray, "p 4"], Bool[np.ndarray, " p"]]:
    """Returns the boxes of one image that may hold something, best first, and which places are filled.

    Args:
      objectness: Logits of the anchors of all maps.
      offsets: From the anchors.
      anchors_xyxy: Of each map, in pixels.
      image_size: Height and width.
      count: Places for boxes.
      per_level: How many of the best anchors of each map are looked at.
      iou_threshold: A box goes if it overlaps a better one of its map more than this.
      least_side: Of a box, in pixels.
    """
    boxes, scores, start = [], [], 0
    for anchors in anchors_xyxy:
        own, start = slice(start, start + len(anchors)), start + len(anchors)
        best = best_first(objectness[own])[:per_level]
        decoded = decode(offsets[own][best], anchors[best], (1.0, 1.0, 1.0, 1.0), image_size)
        kept = suppress(decoded, has_sides(decoded, least_side), iou_threshold)[:count]
        boxes.append(decoded[kept])
        scores.append(objectness[own][best][kept])
    kept_boxes = np.concatenate(boxes)[best_first(np.concatenate(scores))[:count]]
    places = min(count, sum(min(count, per_level, len(anchors)) for anchors in anchors_xyxy))
    filled = np.zeros((places, 4), np.float32)
    filled[: len(kept_boxes)] = kept_boxes
    return filled, np.arange(places) < len(kept_boxes)


def detect_boxes(
    logits: Float[np.ndarray, "t k"],
    offsets: Float[np.ndarray, "t k2 4"],
    boxes_xyxy: Float[np.ndarray, "t 4"],
    valid: Bool[np.ndarray, " t"],
    *,
    image_size: tuple[int, int],
    count: int,
    candidates: int,
    score_threshold: float,
    iou_threshold: float,
    least_side: float,
) -> tuple[Float[np.ndarray, "d 4"], Float[np.ndarray, " d"], Int[np.ndarray, " d"]]:
    """Returns boxes, scores and classes (from 1 on) of what is found in one image, best first.

    Args:
      logits: Of every region; the first class is the background.
      offsets: From the boxes of the regions, for every class or one for all.
      boxes_xyxy: Of the regions, in pixels.
      valid: Which regions are real.
      image_size: Height and width.
      count: Most that is found.
      candidates: How many of the best pairs of a region and a class are looked at.
      score_threshold: Probabilities must be above this.
      iou_threshold: A box goes if it overlaps a better one of its class more than this.
      least_side: Of a box, in pixels.
    """
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    scores = (exponentials / exponentials.sum(-1, keepdims=True))[:, 1:]  # [t, k - 1]
    flat = np.where(valid[:, None] & (scores > score_threshold), scores, -np.inf).reshape(-1)
    best = best_first(flat)[:candidates]
    best = best[flat[best] > -np.inf]
    region, classes = best // scores.shape[1], best % scores.shape[1] + 1
    shape = classes if offsets.shape[1] > 1 else np.zeros_like(classes)
    boxes = decode(offsets[region, shape], boxes_xyxy[region], (10.0, 10.0, 5.0, 5.0), image_size)
    kept = suppress(boxes, has_sides(boxes, least_side), iou_threshold, classes)[:count]
    return boxes[kept], flat[best][kept], classes[kept]


def best_first(scores: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Returns places in the order of scores; equal ones in the order given."""
    return np.argsort(-scores, kind="stable")


def decode(
    offsets: Float[np.ndarray, "n 4"],
    anchors_xyxy: Float[np.ndarray, "n 4"],
    weights: Sequence[float],
    image_size: tuple[int, int],
) -> Float[np.ndarray, "n 4"]:
    """Returns the boxes that offsets from anchors name, inside an image of some height and width."""
    offsets = offsets / np.asarray(weights, np.float32)
    centres = (anchors_xyxy[:, :2] + anchors_xyxy[:, 2:]) / np.float32(2)
    sizes = anchors_xyxy[:, 2:] - anchors_xyxy[:, :2]
    centres = centres + offsets[:, :2] * sizes
    half = sizes * np.exp(np.minimum(offsets[:, 2:], LARGEST_RATIO)) / np.float32(2)
    corner = np.asarray(image_size[::-1], np.float32)
    corners = (np.clip(x, np.float32(0), corner) for x in (centres - half, centres + half))
    return np.concatenate(list(corners), axis=1).astype(np.float32)


def has_sides(boxes_xyxy: Float[np.ndarray, "n 4"], least: float) -> Bool[np.ndarray, " n"]:
    """Returns which boxes are at least so wide and so high."""
    return ((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) >= np.float32(least)).all(1)


def suppress(
    boxes_xyxy: Float[np.ndarray, "n 4"],
    real: Bool[np.ndarray, " n"],
    iou_threshold: float,
    groups: Int[np.ndarray, " n"] | None = None,
) -> Int[np.ndarray, " m"]:
    """Returns the places of real boxes that no better one (of their group) overlaps too much.

    Args:
      boxes_xyxy: The best first.
      real: Which of them count.
      iou_threshold: A box goes if its IoU with a kept one is above this.
      groups: A number for each box; None if all are of one group.
    """
    area = np.prod(np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0), axis=1)
    kept: list[int] = []
    left = np.flatnonzero(real)
    while left.size:
        first, rest = left[0], left[1:]
        kept.append(int(first))
        low = np.maximum(boxes_xyxy[first, :2], boxes_xyxy[rest, :2])
        high = np.minimum(boxes_xyxy[first, 2:], boxes_xyxy[rest, 2:])
        overlap = np.prod(np.maximum(high - low, 0), axis=1)
        union = area[first] + area[rest] - overlap
        above = overlap / np.where(overlap > 0, union, 1) > np.float32(iou_threshold)
        if groups is not None:
            above &= groups[rest] == groups[first]
        left = rest[~above]
    return np.asarray(kept, np.int64)
