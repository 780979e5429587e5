"""Boxes that move with their image: mirrored, cut off at its border, fitted to another size."""

import numpy as np
from jaxtyping import Float, Int

from attokit.train.padded_boxes import UNUSED, box_areas


def mirror_boxes(boxes_xyxy: Float[np.ndarray, "*b 4"], width: int) -> Float[np.ndarray, "*b 4"]:
    """Returns boxes in an image of some width that is mirrored left to right."""
    left, top, right, bottom = np.moveaxis(boxes_xyxy, -1, 0)
    return np.stack([width - right, top, width - left, bottom], -1)


def clip_boxes(
    boxes_xyxy: Float[np.ndarray, "*b 4"], size: tuple[int, int]
) -> Float[np.ndarray, "*b 4"]:
    """Returns boxes cut off at the border of an image of (height, width)."""
    height, width = size
    limits = np.array([width, height, width, height], np.float32)
    limits = limits.reshape((1,) * (boxes_xyxy.ndim - 1) + (4,))
    return np.clip(boxes_xyxy, 0, limits).astype(np.float32)


def keep_inside(
    boxes_xyxy: Float[np.ndarray, "*b 4"], labels: Int[np.ndarray, "*b"], size: tuple[int, int]
) -> tuple[Float[np.ndarray, "*b 4"], Int[np.ndarray, "*b"]]:
    """Returns boxes cut off at the border of an image of (height, width), and their labels.

    A box whose centre is not inside, or which has no area left, becomes an unused row of zeros. What does
    not count keeps all that is left of it: nothing is to be learned there, centre or not.
    """
    height, width = size
    centres = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    limit = np.array([width, height], np.float32).reshape((1,) * (boxes_xyxy.ndim - 1) + (2,))
    inside = ((centres >= 0) & (centres < limit)).all(-1)
    cut = clip_boxes(boxes_xyxy, size)
    kept = (inside | (labels < 0)) & (box_areas(cut) > 0) & (labels != UNUSED)
    return np.where(kept[..., None], cut, np.float32(0)), np.where(kept, labels, UNUSED)


def cover_boxes(
    boxes_xyxy: Float[np.ndarray, "n 4"],
    image_size: tuple[int, int],
    size: tuple[int, int],
) -> Float[np.ndarray, "n 4"]:
    """Returns boxes in an image that `image_folder.cover` has fitted to another size.

    Args:
      boxes_xyxy: In pixels of the image.
      image_size: Its height and width.
      size: Those that it covers then.
    """
    scale = max(size[0] / image_size[0], size[1] / image_size[1])
    scaled = [max(wanted, round(n * scale)) for wanted, n in zip(size, image_size, strict=True)]
    factors = [new / old for new, old in zip(scaled, image_size, strict=True)][::-1]
    shifts = [(new - wanted) // 2 for new, wanted in zip(scaled, size, strict=True)][::-1]
    return boxes_xyxy * np.array([factors * 2]) - np.array([shifts * 2])
