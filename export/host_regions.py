"""Reading regions of maps and pasting masks on the host, in NumPy, as `zoo.roi_align` and `zoo.mask_paste` do."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


def read_regions(
    maps: Sequence[Float[np.ndarray, "_ _ c"]],
    boxes_xyxy: Float[np.ndarray, "t 4"],
    *,
    output_size: int,
    sampling_ratio: int,
    strides: Sequence[float],
    aligned: bool,
    canonical_size: float,
    canonical_level: int,
) -> Float[np.ndarray, "t s s c"]:
    """Returns a grid of features for every box, each of the map of its size (RoIAlign).

    Args:
      maps: Of one image, from fine to coarse.
      boxes_xyxy: In pixels.
      output_size: Bins along each side.
      sampling_ratio: Samples of a bin along each side.
      strides: Pixels per cell of each map.
      aligned: Whether to move boxes by half a cell; without it sides are at least one cell long.
      canonical_size: Square root of the area in pixels from which on boxes read map `canonical_level`.
      canonical_level: Position among the maps.
    """
    levels = _levels(boxes_xyxy, len(maps), canonical_size, canonical_level)
    channels = maps[0].shape[-1]
    regions = np.zeros((len(boxes_xyxy), output_size, output_size, channels), np.float32)
    for level, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        (own,) = np.nonzero(levels == level)
        boxes = boxes_xyxy[own] * np.float32(1 / stride) - np.float32(0.5 if aligned else 0)
        rows, columns = (
            _weights(boxes[:, axis], boxes[:, axis + 2], size, output_size, sampling_ratio, aligned)
            for axis, size in ((1, features.shape[0]), (0, features.shape[1]))
        )  # [t, s, h] and [t, s, w]
        lines = np.einsum("tih,hwc->tiwc", rows, features, optimize=True)
        regions[own] = np.einsum("tiwc,tjw->tijc", lines, columns, optimize=True)
    return regions


def paste_masks(
    masks: Float[np.ndarray, "n m m"],
    boxes_xyxy: Float[np.ndarray, "n 4"],
    image_size: tuple[int, int],
) -> Float[np.ndarray, "n h w"]:
    """Returns probabilities for every pixel of the image, 0 outside of the boxes; cut them at 0.5.

    Args:
      masks: Probabilities over each box.
      boxes_xyxy: In pixels. A box of no size gets no pixels.
      image_size: Height and width.
    """
    rows, columns = (
        _reading(boxes_xyxy[:, axis], boxes_xyxy[:, axis + 2], pixels, masks.shape[1])
        for axis, pixels in ((1, image_size[0]), (0, image_size[1]))
    )
    return rows @ masks @ columns.transpose(0, 2, 1)


def _levels(
    boxes_xyxy: Float[np.ndarray, "t 4"], count: int, canonical_size: float, canonical_level: int
) -> Int[np.ndarray, " t"]:
    """Returns which map each box reads: one coarser for each doubling of its size."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    size = np.maximum(np.sqrt(np.prod(sides, axis=1)), 1e-6)
    level = np.floor(canonical_level + np.log2(size / canonical_size) + 1e-6)
    return np.clip(level, 0, count - 1).astype(np.int64)


def _weights(
    low: Float[np.ndarray, " t"],
    high: Float[np.ndarray, " t"],
    size: int,
    bins: int,
    ratio: int,
    aligned: bool,
) -> Float[np.ndarray, "t s size"]:
    """Returns how much each bin reads of each cell along an axis: the mean of its samples."""
    side = high - low if aligned else np.maximum(high - low, 1)
    shares = (np.arange(bins * ratio, dtype=np.float32) + np.float32(0.5)) / np.float32(
        bins * ratio
    )
    samples = low[:, None] + side[:, None] * shares  # [t, bins * ratio]
    inside: Bool[np.ndarray, "t n"] = (samples >= -1) & (samples <= size)
    place = np.clip(samples, 0, size - 1)
    hats = np.maximum(1 - np.abs(place[..., None] - np.arange(size, dtype=np.float32)), 0)
    hats = np.where(inside[..., None], hats, 0)
    return hats.reshape(len(low), bins, ratio, size).mean(2).astype(np.float32)


def _reading(
    low: Float[np.ndarray, " n"], high: Float[np.ndarray, " n"], pixels: int, cells: int
) -> Float[np.ndarray, "n pixels cells"]:
    """Returns how much each pixel reads of each cell of a mask along an axis."""
    size = high - low
    centres = np.arange(pixels, dtype=np.float32) + np.float32(0.5)
    share = (centres - low[:, None]) / np.where(size > 0, size, 1)[:, None]
    distance = np.abs((share * cells - np.float32(0.5))[..., None] - np.arange(cells))
    weights = np.where((size > 0)[:, None, None], np.maximum(1 - distance, 0), 0)
    return weights.astype(np.float32)
