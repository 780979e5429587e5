"""The segmentation of one of COCO's annotations, polygons or run lengths, as the mask of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

_LEAST_NUMBERS = 6  # of a polygon: three corners
_FARTHEST = 10  # of a corner, in sizes of the image


def segmentation_mask(
    segmentation: Any, size: tuple[int, int], source: object
) -> Bool[np.ndarray, "h w"]:
    """Returns the mask of an object: the union of its polygons, or what its run lengths say.

    A polygon of less than three corners covers nothing.

    Args:
      segmentation: A list of polygons, each `[x, y, x, y, ...]` in pixels, or `{"size": [h, w], "counts": ...}` with
        counts as a list or as COCO packs them.
      size: Height and width of the image.
      source: What errors call it.

    Raises:
      ValueError: if it is neither, damaged, or of an image of another size.
    """
    from faster_coco_eval import mask  # here: only these files need it

    if isinstance(segmentation, Mapping):
        return _of_run_lengths(segmentation, size, source)
    polygons = _polygons(segmentation, size, source)
    if not polygons:
        return np.zeros(size, bool)
    return mask.decode(mask.merge(mask.frPyObjects(polygons, *size))).astype(bool)


def _polygons(segmentation: Any, size: tuple[int, int], source: object) -> list[list[float]]:
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str | bytes):
        raise ValueError(
            f"{source} has a segmentation that is {segmentation!r}: give polygons or run lengths"
        )
    polygons = []
    for polygon in segmentation:
        try:
            numbers = np.asarray(polygon, np.float64)
        except (TypeError, ValueError):
            numbers = np.full(1, np.nan)
        if numbers.ndim != 1 or len(numbers) % 2 or not np.isfinite(numbers).all():
            raise ValueError(
                f"{source} has the polygon {_short(polygon)}: give x and y of every corner, all finite"
            )
        if np.abs(numbers).max(initial=0) > _FARTHEST * max(
            size
        ):  # every pixel of an edge costs memory
            raise ValueError(
                f"{source} has the polygon {_short(polygon)}, far outside of its image of {size}: give pixels"
            )
        if len(numbers) >= _LEAST_NUMBERS:
            polygons.append(numbers.tolist())
    return polygons


def _of_run_lengths(
    rle: Mapping[str, Any], size: tuple[int, int], source: object
) -> Bool[np.ndarray, "h w"]:
    from faster_coco_eval import mask

    counts, told = rle.get("counts"), rle.get("size")
    if not isinstance(counts, str | bytes | Sequence) or not isinstance(told, Sequence):
        raise ValueError(
            f"{source} has run lengths {_short(dict(rle))}: give size and counts, as COCO has them"
        )
    if tuple(told) != size:
        raise ValueError(
            f"{source} has run lengths of {tuple(told)} pixels, its image has {size}: both must have "
            "one height and width"
        )
    if not isinstance(counts, str | bytes):
        _check_counts(counts, size, source)
    try:
        packed = (
            {"size": list(size), "counts": counts.encode() if isinstance(counts, str) else counts}
            if isinstance(counts, str | bytes)
            else mask.frPyObjects({"size": list(size), "counts": list(counts)}, *size)
        )
        return mask.decode(packed).astype(bool)
    except (ValueError, RuntimeError) as err:
        raise ValueError(
            f"{source} has damaged run lengths {_short(dict(rle))} ({err}): correct the counts"
        ) from err


def _check_counts(counts: Sequence[Any], size: tuple[int, int], source: object) -> None:
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError(
            f"{source} has the run lengths {_short(counts)}: give whole numbers from 0 on"
        )
    total = sum(counts)
    if total != size[0] * size[1]:
        raise ValueError(
            f"{source} has run lengths of {total} pixels in all, its image has {size[0] * size[1]}: correct "
            "the counts"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
