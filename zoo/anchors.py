"""Anchors: the boxes of several shapes that every cell of a pyramid starts from."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def anchor_boxes_xyxy(
    map_sizes: Sequence[tuple[int, int]],
    *,
    steps: Sequence[tuple[int, int]],
    sizes: Sequence[float],
    ratios: Sequence[float],
) -> tuple[Float[np.ndarray, "_ 4"], ...]:
    """Returns the anchors of every map, in pixels, not clipped: by rows, columns, then ratios.

    As torchvision has them: corners are rounded to whole pixels, and cell (0, 0) is centred on the image's corner.

    Args:
      map_sizes: Rows and columns of each map.
      steps: Pixels from row to row and from column to column of each map.
      sizes: Square root of the area of each map's anchors, in pixels.
      ratios: Height to width.

    Raises:
      ValueError: if there is not one size and one step per map, or a number is not above 0.
    """
    if not len(map_sizes) == len(sizes) == len(steps):
        raise ValueError(
            f"{len(map_sizes)} maps, anchor sizes {tuple(sizes)}, steps {tuple(steps)}: give one size and one "
            "step for each map"
        )
    if not ratios or min(*sizes, *ratios, *np.ravel(steps)) <= 0:
        raise ValueError(
            f"steps={tuple(steps)}, sizes={tuple(sizes)}, ratios={tuple(ratios)}: give positive numbers"
        )
    root = np.sqrt(np.asarray(ratios, np.float64))
    levels = []
    for (rows, columns), (down, right), size in zip(map_sizes, steps, sizes, strict=True):
        half = np.stack([size / root, size * root], axis=-1) / 2  # [ratios, 2], of width and height
        shapes = np.round(np.concatenate([-half, half], axis=-1))  # [ratios, 4]
        y, x = np.mgrid[:rows, :columns]
        corner = np.stack([x * right, y * down], axis=-1)
        centres = np.tile(corner, 2).reshape(-1, 1, 4)  # [cells, 1, 4]
        levels.append((centres + shapes[None]).reshape(-1, 4).astype(np.float32))
    return tuple(levels)
