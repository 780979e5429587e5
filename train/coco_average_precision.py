"""Average precision as COCO defines it, computed by faster-coco-eval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from attokit.train.average_precision import Found
from attokit.train.mask_rle import Rle, rle_areas
from attokit.train.padded_boxes import box_areas

AREAS = ("all", "small", "medium", "large")
"""Of objects: below 32x32 pixels, up to 96x96, above."""

_EDGES = (32.0**2, 96.0**2)
_MOST_ANSWERS = -1  # position: 100 answers per image


def coco_precision(
    found: Found, num_images: int, num_classes: int
) -> Float[np.ndarray, "thresholds k"]:
    """Returns the average precision of boxes at IoU 0.50, 0.55, ... 0.95 of each class from 1 on.

    It is NaN for a class without objects. Objects that do not count are crowds: any number of answers may
    lie on them (Lin et al., "Microsoft COCO: common objects in context").

    Args:
      found: Answers and objects.
      num_images: Of the split, with and without objects.
      num_classes: With the background.
    """
    return coco_precision_by_area(found, num_images, num_classes)[0]


def coco_precision_by_area(
    found: Found, num_images: int, num_classes: int, *, by_masks: bool = False
) -> Float[np.ndarray, "areas thresholds k"]:
    """Returns the same for objects of `AREAS`: of any size, small, medium and large ones.

    Args:
      found: Answers and objects.
      num_images: Of the split, with and without objects.
      num_classes: With the background.
      by_masks: Whether masks must overlap, not boxes. An object's area is that of its mask wherever it
        has one.
    """
    known = _objects_of_area(found, num_classes)  # [areas, k]
    nothing = np.where(known[:, None], 0.0, np.nan) * np.ones((1, 10, 1))
    if not len(found.scores) or not known.any():
        return nothing
    from faster_coco_eval import COCO, COCOeval_faster  # here: only evaluation needs it

    truth = COCO(_annotations(found, num_images, num_classes))
    answers = truth.loadRes(_answers(found, by_masks))
    kind = "segm" if by_masks else "bbox"
    evaluation = COCOeval_faster(truth, answers, iouType=kind, print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., _MOST_ANSWERS]  # [t, r, k, areas]
    mean = np.where(precision > -1, precision, np.nan).mean(1)
    return np.moveaxis(mean, -1, 0)


def _areas(found: Found) -> Float[np.ndarray, " g"]:
    if found.true_masks:
        return rle_areas(found.true_masks)
    return box_areas(found.true_boxes_xyxy)


def _objects_of_area(found: Found, num_classes: int) -> np.ndarray:
    """Returns which classes have objects of each area that count."""
    size = np.digitize(_areas(found), _EDGES) + 1  # 1 small, 2 medium, 3 large
    of_class = found.true_labels[None] == np.arange(1, num_classes)[:, None]  # [k, g]
    rows = [of_class.any(1), *((of_class & (size == s)[None]).any(1) for s in (1, 2, 3))]
    return np.stack(rows)


def _annotations(found: Found, num_images: int, num_classes: int) -> dict:
    nothing: list[Rle | None] = [None] * len(found.true_labels)
    masks: Sequence[Rle | None] = found.true_masks or nothing
    return {
        "images": [_image(image, masks) for image in range(num_images)],
        "categories": [{"id": label, "name": str(label)} for label in range(1, num_classes)],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(image),
                "category_id": int(abs(label)),
                "bbox": _xywh(box),
                "area": float(area),
                "iscrowd": int(label < 0),
            }
            | ({} if mask is None else {"segmentation": mask})
            for row, (box, label, image, area, mask) in enumerate(
                zip(
                    found.true_boxes_xyxy,
                    found.true_labels,
                    found.true_images,
                    _areas(found),
                    masks,
                    strict=True,
                )
            )
        ],
    }


def _image(image: int, masks: Sequence[Rle | None]) -> dict[str, Any]:
    mask = masks[0] if masks else None
    return {"id": image} | (
        {} if mask is None else {"height": mask["size"][0], "width": mask["size"][1]}
    )


def _answers(found: Found, by_masks: bool) -> list[dict]:
    places: list[dict[str, Any]] = (
        [{"segmentation": mask} for mask in found.masks]
        if by_masks
        else [{"bbox": _xywh(box)} for box in found.boxes_xyxy]
    )
    return [
        {"image_id": int(image), "category_id": int(label), "score": float(score)} | place
        for place, score, label, image in zip(
            places, found.scores, found.labels, found.images, strict=True
        )
    ]


def _xywh(box: np.ndarray) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]
