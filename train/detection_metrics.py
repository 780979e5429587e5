"""Metrics of detections, from all answers and objects of a split."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attokit.train.average_precision import Found, average_precision
from attokit.train.coco_average_precision import coco_precision
from attokit.train.detections import Detections
from attokit.train.metrics import Collected

_AT_50, _AT_75 = 0, 5  # positions among COCO's thresholds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AveragePrecision(Collected):
    """Average precision in VOC's and in COCO's form.

    `compute` gives `ap50` (VOC: the area under the curve at IoU 0.5, the mean over the classes that the
    split holds), `coco_ap` (the mean over IoU 0.50 to 0.95), `coco_ap50` and `coco_ap75`, and
    `ap50_by_class`, NaN for classes that no object has. Without any object that counts all are 0, and a
    warning says so: some data sets keep the boxes of their split `test` to themselves.

    Attributes:
      num_classes: With the background.
    """

    num_classes: int = dataclasses.field(kw_only=True, metadata={"static": True})

    @classmethod
    def of(
        cls,
        detections: Detections,
        boxes_xyxy: Float[Array, "b n 4"],
        labels: Int[Array, "b n"],
        mask: Float[Array, " b"],
        num_classes: int,
    ) -> "AveragePrecision":
        """Returns the answers and objects of one batch; where `mask` is 0, an image is none."""
        rows = {
            "boxes": detections.boxes_xyxy,
            "scores": detections.scores,
            "labels": detections.labels,
            "true_boxes": boxes_xyxy,
            "true_labels": labels,
            "mask": mask,
        }
        return cls((jax.tree.map(jnp.asarray, rows),), num_classes=num_classes)

    def found(self) -> tuple[Found, int]:
        """Returns answers and objects on the host, without empty rows, and the number of images."""
        rows = self.rows()
        images = np.flatnonzero(rows.pop("mask") > 0)
        rows = {name: array[images] for name, array in rows.items()}
        sizes = np.maximum(rows["true_boxes"][..., 2:] - rows["true_boxes"][..., :2], 0)
        image, row = np.nonzero(rows["labels"] > 0)
        # What has no area cannot be found, as it could not be learned.
        true_image, true_row = np.nonzero((rows["true_labels"] != 0) & (sizes.prod(-1) > 0))
        return (
            Found(
                boxes_xyxy=rows["boxes"][image, row],
                scores=rows["scores"][image, row],
                labels=rows["labels"][image, row],
                images=image,
                true_boxes_xyxy=rows["true_boxes"][true_image, true_row],
                true_labels=rows["true_labels"][true_image, true_row],
                true_images=true_image,
            ),
            len(images),
        )

    def compute(self) -> dict[str, np.ndarray]:
        """Returns the values by name, from 0 to 1."""
        found, images = self.found()
        if not (found.true_labels > 0).any():
            warnings.warn(
                f"none of {images} images has an object that counts, so average precision is 0 whatever is "
                "found: evaluate on a split whose boxes are known",
                stacklevel=2,
            )
        by_class = np.array(
            [average_precision(found, label) for label in range(1, self.num_classes)]
        )
        coco = coco_precision(found, images, self.num_classes)
        means = {
            "ap50": by_class,
            "coco_ap": coco,
            "coco_ap50": coco[_AT_50],
            "coco_ap75": coco[_AT_75],
        }
        values = {name: np.asarray(_mean_of_known(numbers)) for name, numbers in means.items()}
        return values | {"ap50_by_class": by_class}


def _mean_of_known(values: Float[np.ndarray, "..."]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0
