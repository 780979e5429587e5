"""The boxes of an image as rows of a fixed number, so that every batch has one shape.

`boxes` (float32 [b, n, 4]) are left, top, right, bottom in pixels, right and bottom exclusive.
`box_labels` (int32 [b, n]) say what a row is: a class from 1 on, `UNUSED` for an empty row, minus the
class for an object that is neither to be found nor a mistake to find, such as a crowd of them.
"""

import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from attokit.train.dataset import Batch

UNUSED = 0
"""The label of a row without a box; as a class of pixels it would be the background."""


def box_sizes(boxes_xyxy: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b 2"]:
    """Returns width and height."""
    return boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]


def box_areas(boxes_xyxy: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b"]:
    """Returns areas; 0 for a box of no or negative width or height."""
    return np.maximum(box_sizes(boxes_xyxy), 0).prod(-1)


class BoxPadding:
    """Fills the boxes of one image up to a fixed number of rows.

    Where there are more, the largest stay, in their order; that is told once, by a warning. What has
    no area is left out: there is nothing to find.
    """

    def __init__(self, count: int, name: str):
        """Takes the number of rows, and what the warning calls the data.

        Raises:
          ValueError: if there is not even one row.
        """
        if count < 1:
            raise ValueError(f"max_boxes is {count}: give at least 1")
        self._count, self._name = count, name
        self._warned = False

    def __call__(
        self, boxes_xyxy: Float[np.ndarray, "m 4"], labels: Int[np.ndarray, " m"]
    ) -> Batch:
        """Returns `boxes` and `box_labels` of one image."""
        kept = self.choose(boxes_xyxy)
        missing = self._count - len(kept)
        return {
            "boxes": np.pad(boxes_xyxy[kept].astype(np.float32), ((0, missing), (0, 0))),
            "box_labels": np.pad(labels[kept].astype(np.int32), (0, missing)),
        }

    def choose(self, boxes_xyxy: Float[np.ndarray, "m 4"]) -> Int[np.ndarray, " kept"]:
        """Returns which boxes of one image stay, rising."""
        areas = box_areas(boxes_xyxy)
        kept = np.flatnonzero(areas > 0)
        if len(kept) > self._count:
            self._warn(len(kept))
            largest = np.argsort(-areas[kept], kind="stable")[: self._count]
            kept = kept[np.sort(largest)]
        return kept

    def _warn(self, found: int) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"an image of {self._name} has {found} boxes, a batch holds the {self._count} largest "
                "of each: raise max_boxes to learn and count more",
                stacklevel=4,
            )


def check_boxes(batch: Mapping[str, np.ndarray], num_classes: int) -> None:
    """Refuses boxes that are none, are shares of the image rather than pixels, or have an unknown class.

    Raises:
      ValueError: if there are such boxes in the batch, or no rows for any.
    """
    missing = [name for name in ("boxes", "box_labels") if name not in batch]
    if missing:
        raise ValueError(
            f"a batch holds {', '.join(batch)}, but no {' and no '.join(missing)}: give boxes "
            "[b, n, 4] and box_labels [b, n]"
        )
    boxes, labels = batch["boxes"], batch["box_labels"]
    if boxes.ndim != 3 or boxes.shape[1] < 1 or boxes.shape != (*labels.shape, 4):
        raise ValueError(
            f"boxes of shape {boxes.shape} and box_labels of shape {labels.shape}: give [b, n, 4] and "
            "[b, n] with at least one row, label 0 where an image has fewer"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"box_labels are {labels.dtype}, but classes are integers: give int32")
    wrong = labels[np.abs(labels.astype(np.int64)) >= num_classes]
    if wrong.size:
        ids = ", ".join(map(str, np.unique(wrong)[:5].tolist()))
        raise ValueError(
            f"box_labels hold {ids}, but the objects' classes are 1 to {num_classes - 1} (0 marks an "
            "empty row, minus a class an object that does not count): correct the labels"
        )
    used = boxes[labels != UNUSED]
    bad = used[~(np.isfinite(used).all(-1) & (box_sizes(used) >= 0).all(-1))]
    if bad.size:
        raise ValueError(
            f"boxes hold {bad[0].tolist()}, which is no left, top, right, bottom: right and bottom may "
            "not be below left and top (a box of width and height must be converted), none may be NaN"
        )
    # One object may lie in the first pixel; several would not.
    if len(used) > 1 and box_areas(used).any() and used.min() >= 0 and used.max() <= 1:
        raise ValueError(
            f"boxes hold {used[0].tolist()} and nothing above 1, which are shares of width and height: "
            "multiply them by the image's, to have pixels"
        )
