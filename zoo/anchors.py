"""Anchors: the boxes of several shapes that every cell of a pyramid starts from."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def anchor_boxes_xyxy(
    image_size: tuple[int, int],
    map_sizes: Sequence[tuple[int, int]],
    *,
    sizes: Sequence[float],
    ratios: Sequence[float],
) -> tuple[Float[np.ndarray, "_ 4"], ...]:
    """Returns the anchors of every map, in pixels, not clipped: by rows, columns, then ratios.

    As torchvision has them: corners are rounded to whole pixels, and cell (0, 0) is centred on the image's corner.

    Args:
      image_size: Height and width.
      map_sizes: Rows and columns of each map.
      sizes: Square root of the area of each map's anchors, in pixels.
      ratios: Height to width.

    Raises:
      ValueError: if there is not one size per map, or a number is not above 0.
    """
    if len(map_sizes) != len(sizes):
        raise ValueError(
            f"{len(map_sizes)} maps and anchor sizes {tuple(sizes)}: give one size for each map"
        )
    if not ratios or min(*sizes, *ratios, *image_size) <= 0:
        raise ValueError(
            f"image_size={image_size}, sizes={tuple(sizes)}, ratios={tuple(ratios)}: give positive numbers"
        )
    root = np.sqrt(np.asarray(ratios, np.float64))
    levels = []
    for (rows, columns), size in zip(map_sizes, sizes, strict=True):
        half = np.stack([size / root, size * root], axis=-1) / 2  # [ratios, 2], of width and height
        shapes = np.round(np.concatenate([-half, half], axis=-1))  # [ratios, 4]
        y, x = np.mgrid[:rows, :columns]
        corner = np.stack([x * (image_size[1] // columns), y * (image_size[0] // rows)], axis=-1)
        centres = np.tile(corner, 2).reshape(-1, 1, 4)  # [cells, 1, 4]
        levels.append((centres + shapes[None]).reshape(-1, 4).astype(np.float32))
    return tuple(levels)
