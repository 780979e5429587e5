"""Average precision as COCO defines it, computed by faster-coco-eval."""

import numpy as np
from jaxtyping import Float

from attokit.train.average_precision import Found
from attokit.train.padded_boxes import box_areas

_ALL_AREAS, _MOST_ANSWERS = 0, -1  # positions: objects of any size, 100 answers per image


def coco_precision(
    found: Found, num_images: int, num_classes: int
) -> Float[np.ndarray, "thresholds k"]:
    """Returns the average precision at IoU 0.50, 0.55, ... 0.95 of each class from 1 on.

    It is NaN for a class without objects. Objects that do not count are crowds: any number of answers may
    lie on them (Lin et al., "Microsoft COCO: common objects in context").

    Args:
      found: Answers and objects.
      num_images: Of the split, with and without objects.
      num_classes: With the background.
    """
    shape = (10, num_classes - 1)
    objects = np.array([(found.true_labels == label).any() for label in range(1, num_classes)])
    if not len(found.scores) or not objects.any():
        return np.where(objects[None], 0.0, np.nan) * np.ones(shape)
    from faster_coco_eval import COCO, COCOeval_faster  # here: only evaluation needs it

    truth = COCO(_annotations(found, num_images, num_classes))
    answers = truth.loadRes(_answers(found))
    evaluation = COCOeval_faster(truth, answers, iouType="bbox", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, _ALL_AREAS, _MOST_ANSWERS]  # [t, r, k]
    return np.where(precision > -1, precision, np.nan).mean(1)


def _annotations(found: Found, num_images: int, num_classes: int) -> dict:
    areas = box_areas(found.true_boxes_xyxy)
    return {
        "images": [{"id": image} for image in range(num_images)],
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
            for row, (box, label, image, area) in enumerate(
                zip(found.true_boxes_xyxy, found.true_labels, found.true_images, areas, strict=True)
            )
        ],
    }


def _answers(found: Found) -> list[dict]:
    return [
        {
            "image_id": int(image),
            "category_id": int(label),
            "bbox": _xywh(box),
            "score": float(score),
        }
        for box, score, label, image in zip(
            found.boxes_xyxy, found.scores, found.labels, found.images, strict=True
        )
    ]


def _xywh(box: np.ndarray) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]
