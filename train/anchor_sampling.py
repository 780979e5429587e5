"""Data-anchor sampling: images scaled such that small and large objects are equally frequent.

Tang et al., "PyramidBox", section 3.3, as S3FD's successors use it: an object is chosen, then an anchor
at most one step larger than the one nearest to it, and the object is brought near that size.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_SHARE = 0.5  # of the images
_SMALLEST, _LARGEST = 1 / 16, 16.0  # factor of the size: beyond, nothing can be recognized


@dataclasses.dataclass(frozen=True)
class Aim:
    """How one image is scaled, and where its window starts, in pixels of the scaled image."""

    scale: float
    top: int
    left: int


def aim_at_object(
    boxes_xyxy: Float[np.ndarray, "n 4"],
    size: tuple[int, int],
    anchor_sizes: Sequence[float],
    shares: Float[np.ndarray, " 6"],
) -> Aim | None:
    """Returns how to bring an object to the size of an anchor; None to leave the image as it is.

    The window of the image's own size holds the object whole where it fits in, and the middle of the object in
    any case.

    Args:
      boxes_xyxy: Of the objects, in pixels; with none, there is nothing to aim at.
      size: Height and width of the image.
      anchor_sizes: Sides in pixels, rising.
      shares: From 0 to below 1: whether, which object, which anchor, how far from its size (half to
        double), and where in the window, from top and from left.
    """
    whether, which, anchor, distance, *places = map(float, shares)
    if whether >= _SHARE or not len(boxes_xyxy):
        return None
    box = boxes_xyxy[int(which * len(boxes_xyxy))].astype(float)
    side = float(np.sqrt(max(np.prod(box[2:] - box[:2]), 0)))
    if not side > 0:
        return None
    nearest = int(np.abs(np.array(anchor_sizes) - side).argmin())
    target = int(anchor * min(nearest + 2, len(anchor_sizes)))
    scale = anchor_sizes[target] / side * 2 ** (2 * distance - 1)
    scale = min(max(scale, _SMALLEST), _LARGEST)
    top, left = (
        _start(scale * low, scale * high, window, place)
        for low, high, window, place in zip(box[[1, 0]], box[[3, 2]], size, places, strict=True)
    )
    return Aim(scale, top, left)


def _start(low: float, high: float, window: int, place: float) -> int:
    """Returns where a window starts that holds a stretch, or the middle of one that is longer."""
    first, last = high - window, low
    if first > last:
        first = last = (low + high - window) / 2
    return round(first + place * (last - first))
