"""Prior boxes: the square that every pixel of a map starts from when it names a box."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def prior_boxes_cxcywh(
    image_size: tuple[int, int], *, steps: Sequence[int], sizes: Sequence[int]
) -> Float[np.ndarray, "n 4"]:
    """Returns one square per pixel of every map: centre x and y, width and height.

    In shares of the image's width and height, not clipped to it; maps in order, then rows, then columns.
    A map covers the image, so its last pixels may lie partly outside.

    Args:
      image_size: Height and width in pixels.
      steps: Pixels of the image from centre to centre, per map.
      sizes: Sides of the squares in pixels of the image, per map.

    Raises:
      ValueError: if there are not as many steps as sizes, or a number is not above 0.
    """
    height, width = image_size
    if len(steps) != len(sizes) or not steps:
        raise ValueError(f"steps={steps} and sizes={sizes}: give one of each per map")
    if min(*steps, *sizes, *image_size) <= 0:
        raise ValueError(
            f"image_size={image_size}, steps={steps}, sizes={sizes}: give positive numbers"
        )
    maps = []
    for step, size in zip(steps, sizes, strict=True):
        y, x = np.mgrid[: -(-height // step), : -(-width // step)]
        centres = [(x + 0.5) * step / width, (y + 0.5) * step / height]
        square = [np.full(x.shape, size / width), np.full(x.shape, size / height)]
        maps.append(np.stack(centres + square, axis=-1).reshape(-1, 4))
    return np.concatenate(maps).astype(np.float32)
