"""Masks of objects, stored as small pictures of their boxes, and read again by regions that overlap them.

A batch cannot hold a mask of the image's size for every object. It holds `masks` (uint8 [g, m, m]) over their
boxes: cell (i, j) is the share of the cell that the object covers, of 255.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8


def compact_mask(
    mask: Bool[np.ndarray, "h w"], box_xyxy: Float[np.ndarray, " 4"], size: int
) -> UInt8[np.ndarray, "m m"]:
    """Returns the mask of one object as a picture of its box, by the area that it covers of every cell.

    Args:
      mask: Which pixels belong to the object.
      box_xyxy: Its box, in pixels; what lies outside of the image is empty.
      size: Rows and columns of the picture.

    Raises:
      ValueError: if the box has no size, or the picture none.
    """
    if size < 1 or not np.all(box_xyxy[2:] > box_xyxy[:2]):
        raise ValueError(
            f"a picture of {size} cells of the box {np.asarray(box_xyxy).tolist()}: give at least 1 cell, and "
            "right and bottom above left and top"
        )
    left, top = np.maximum(np.floor(box_xyxy[:2]), 0).astype(int)
    right, bottom = np.ceil(box_xyxy[2:]).astype(int)
    inside = mask[top : max(bottom, 0), left : max(right, 0)]  # nothing else is looked at
    rows = _shares(box_xyxy[1] - top, box_xyxy[3] - top, inside.shape[0], size)
    columns = _shares(box_xyxy[0] - left, box_xyxy[2] - left, inside.shape[1], size)
    return np.round(255 * (rows @ inside.astype(np.float64) @ columns.T)).astype(np.uint8)


def compact_instances(
    instance_map: Int[np.ndarray, "h w"], boxes_xyxy: Float[np.ndarray, "g 4"], size: int
) -> UInt8[np.ndarray, "g m m"]:
    """Returns the pictures of all objects of an image, of which number `i + 1` in the map has row i.

    Rows of no size have empty pictures.
    """
    pictures = np.zeros((len(boxes_xyxy), size, size), np.uint8)
    for row, box in enumerate(boxes_xyxy):
        if np.all(box[2:] > box[:2]):
            pictures[row] = compact_mask(instance_map == row + 1, box, size)
    return pictures


def cut_picture(
    picture: UInt8[np.ndarray, "m m"],
    box_xyxy: Float[np.ndarray, " 4"],
    part_xyxy: Float[np.ndarray, " 4"],
) -> UInt8[np.ndarray, "m m"]:
    """Returns the picture of a part of a box, by area, from that of the whole.

    Args:
      picture: Of the box.
      box_xyxy: Of some width and height.
      part_xyxy: Inside of it, of some width and height.
    """
    cells = len(picture)
    scale = cells / (box_xyxy[2:] - box_xyxy[:2])
    low, high = (part_xyxy[:2] - box_xyxy[:2]) * scale, (part_xyxy[2:] - box_xyxy[:2]) * scale
    rows = _shares(low[1], high[1], cells, cells)
    columns = _shares(low[0], high[0], cells, cells)
    return np.round(rows @ picture.astype(np.float64) @ columns.T).astype(np.uint8)


def mask_targets(
    masks: UInt8[Array, "g m m"],
    boxes_xyxy: Float[Array, "g 4"],
    regions_xyxy: Float[Array, "t 4"],
    rows: Int[Array, " t"],
    *,
    output_size: int,
    sampling_ratio: int = 2,
) -> Float[Array, "t s s"]:
    """Returns what of its object each region is to show, in [0, 1]; outside of the object's box it is 0.

    It is RoIAlign of the picture, framed by zeros, with the region in the picture's cells.

    Args:
      masks: Pictures of the objects, as `compact_mask` makes them.
      boxes_xyxy: Of the objects.
      regions_xyxy: In the same unit.
      rows: Of each region's object.
      output_size: Rows and columns of the answer.
      sampling_ratio: Samples of each of its cells along each side.
    """
    cells = masks.shape[-1]
    boxes = boxes_xyxy[rows]
    size = jnp.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    low = (regions_xyxy[:, :2] - boxes[:, :2]) / size * cells - 0.5  # [t, 2], of cells' centres
    side = (regions_xyxy[:, 2:] - regions_xyxy[:, :2]) / size * cells
    weights = functools.partial(_hats, cells=cells, bins=output_size, samples=sampling_ratio)
    pictures = masks[rows].astype(jnp.float32) / 255  # [t, m, m]
    lines = jnp.einsum("tim,tmn->tin", weights(low[:, 1], side[:, 1]), pictures)
    return jnp.einsum("tin,tjn->tij", lines, weights(low[:, 0], side[:, 0]))


def _shares(low: float, high: float, pixels: int, cells: int) -> Float[np.ndarray, "m pixels"]:
    """Returns which share of each cell along an axis each pixel covers."""
    edges = np.linspace(low, high, cells + 1)
    first, last = edges[:-1, None], edges[1:, None]
    start = np.arange(pixels)[None]
    common = np.minimum(last, start + 1) - np.maximum(first, start)
    return np.maximum(common, 0) / (last - first)


def _hats(
    low: Float[Array, " t"], side: Float[Array, " t"], *, cells: int, bins: int, samples: int
) -> Float[Array, "t s m"]:
    """Returns how much each bin reads of each cell: the mean of its samples' bilinear weights."""
    steps = (jnp.arange(bins * samples, dtype=low.dtype) + 0.5) / (bins * samples)
    place = low[:, None] + side[:, None] * steps[None]  # [t, s * samples]
    distance = jnp.abs(place[:, :, None] - jnp.arange(cells, dtype=low.dtype)[None, None])
    return jnp.maximum(1 - distance, 0.0).reshape(len(low), bins, samples, cells).mean(2)
