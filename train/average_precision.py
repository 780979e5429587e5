"""Average precision as PASCAL VOC defines it: the area under the curve of precision over recall.

Everingham et al., "The PASCAL Visual Object Classes (VOC) challenge: a retrospective", section 2: the
exact area (as from 2010 on), one answer per object, objects marked difficult neither count nor harm.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from attokit.train.mask_rle import rle_iou


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Answers and objects of all images of a split, on the host, each a row.

    Attributes:
      boxes_xyxy: Of answers.
      scores: Of answers.
      labels: Of answers, from 1 on.
      images: Of answers: which image.
      true_boxes_xyxy: Of objects.
      true_labels: Of objects; minus the class where one does not count.
      true_images: Of objects.
      masks: Of answers, run lengths as `train.mask_rle` has them; empty where only boxes are compared.
      true_masks: Of objects.
    """

    boxes_xyxy: Float[np.ndarray, "d 4"]
    scores: Float[np.ndarray, " d"]
    labels: Int[np.ndarray, " d"]
    images: Int[np.ndarray, " d"]
    true_boxes_xyxy: Float[np.ndarray, "g 4"]
    true_labels: Int[np.ndarray, " g"]
    true_images: Int[np.ndarray, " g"]
    masks: Sequence[Mapping[str, Any]] = ()
    true_masks: Sequence[Mapping[str, Any]] = ()


def iou_matrix(
    boxes_xyxy: Float[np.ndarray, "n 4"], others_xyxy: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Returns the intersection over union of every box with every other one, on the host."""
    boxes, others = boxes_xyxy[:, None].astype(np.float64), others_xyxy[None].astype(np.float64)
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(
        boxes[..., :2], others[..., :2]
    )
    overlap = np.maximum(sides, 0).prod(-1)
    areas = [np.maximum(b[..., 2:] - b[..., :2], 0).prod(-1) for b in (boxes, others)]
    union = areas[0] + areas[1] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def area_under_curve(right: Bool[np.ndarray, " d"], objects: int) -> float:
    """Returns the area under the envelope of precision over recall.

    Args:
      right: Whether each answer is, the most probable first.
      objects: How many there are to find; at least 1.
    """
    hits = np.cumsum(right)
    recall = hits / objects
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def average_precision(
    found: Found, label: int, *, iou_threshold: float = 0.5, by_masks: bool = False
) -> float:
    """Returns the average precision of one class, from 0 to 1; NaN where no object counts.

    An answer is right if the object of its class that it overlaps most, by at least the threshold, was not
    found by a more probable one. Equal scores count in the order given.

    Args:
      found: Answers and objects.
      label: The class.
      iou_threshold: What an answer and its object must have in common.
      by_masks: Whether masks must overlap, not boxes.
    """
    truths = np.abs(found.true_labels) == label
    objects = int((found.true_labels == label).sum())
    if not objects:
        return float("nan")
    right, counted = _judge(found, label, truths, iou_threshold, by_masks)
    return area_under_curve(right[counted], objects)


def _overlaps(
    found: Found, answer: int, rows: Sequence[int], by_masks: bool
) -> Float[np.ndarray, " rows"]:
    """Returns the intersection over union of one answer with some objects."""
    if by_masks:
        return rle_iou(found.masks[answer], [found.true_masks[row] for row in rows])
    return iou_matrix(found.boxes_xyxy[answer][None], found.true_boxes_xyxy[rows])[0]


def _judge(
    found: Found,
    label: int,
    truths: Bool[np.ndarray, " g"],
    iou_threshold: float,
    by_masks: bool,
) -> tuple[Bool[np.ndarray, " d"], Bool[np.ndarray, " d"]]:
    """Returns which answers of a class are right, and which count, the most probable first."""
    answers = np.flatnonzero(found.labels == label)
    answers = answers[np.argsort(-found.scores[answers], kind="stable")]
    by_image: dict[int, list[int]] = {}
    for row in np.flatnonzero(truths):
        by_image.setdefault(int(found.true_images[row]), []).append(int(row))
    taken = np.zeros(len(truths), bool)
    right, counted = np.zeros(len(answers), bool), np.ones(len(answers), bool)
    for place, answer in enumerate(answers):
        rows = by_image.get(int(found.images[answer]), [])
        if not rows:
            continue
        overlaps = _overlaps(found, int(answer), rows, by_masks)
        best = rows[int(overlaps.argmax())]
        if overlaps.max() < iou_threshold:
            continue
        if found.true_labels[best] < 0:
            counted[place] = False
        elif not taken[best]:
            taken[best] = right[place] = True
    return right, counted
