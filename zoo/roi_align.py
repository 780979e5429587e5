"""RoIAlign: a fixed grid of features for every box, by bilinear samples (He et al. 2017, arXiv 1703.06870).

A box is cut into `output_size` bins along each side, a bin holds `sampling_ratio` samples along each side, and the
bin's value is their mean. Cell i of a map is the point i; `aligned` moves boxes by half a cell, so that a pixel's
centre is the point, without it they stay where torchvision's Mask R-CNN has them. Samples beyond the last cell
read it, up to one cell away from the map; farther ones are 0. That is the rule of torchvision and Detectron.

Both ways to compute it are the same function. As products: the weights of a bin along an axis are a row, and a
region is rows times map times columns, whose gradients are products too. By gathering: every sample reads its four
cells. Products do more arithmetic and far fewer reads, so they win where maps are small.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attokit.zoo.composite import composite
from attokit.zoo.iou import box_area

# Cells of all maps together up to which products are faster on CPU (`benchmarks/roi_align.py`).
_FEW_CELLS = 2048


def roi_align(
    features: Float[Array, "h w c"],
    boxes_xyxy: Float[Array, "t 4"],
    *,
    output_size: int,
    sampling_ratio: int,
    spatial_scale: float,
    aligned: bool,
) -> Float[Array, "t s s c"]:
    """Returns a grid of features for every box of one image; gradients are finite everywhere.

    Args:
      features: One map.
      boxes_xyxy: In any unit; they may lie outside of the map and have no size.
      output_size: Bins along each side.
      sampling_ratio: Samples of a bin along each side.
      spatial_scale: Cells per unit of the boxes.
      aligned: Whether to move boxes by half a cell. Without it sides are at least one cell long.

    Raises:
      ValueError: if a number is not above 0.
    """
    return pyramid_roi_align(
        (features,),
        boxes_xyxy,
        jnp.zeros(len(boxes_xyxy), jnp.int32),
        output_size=output_size,
        sampling_ratio=sampling_ratio,
        spatial_scales=(spatial_scale,),
        aligned=aligned,
    )


@functools.partial(
    jax.jit, static_argnames=("output_size", "sampling_ratio", "spatial_scales", "aligned")
)
def pyramid_roi_align(
    maps: Sequence[Float[Array, "_ _ c"]],
    boxes_xyxy: Float[Array, "t 4"],
    levels: Int[Array, " t"],
    *,
    output_size: int,
    sampling_ratio: int,
    spatial_scales: Sequence[float],
    aligned: bool,
) -> Float[Array, "t s s c"]:
    """Returns `roi_align` of every box on the map that `levels` gives it; counts no multiply-adds.

    Args:
      maps: Of one image, with the same channels.
      boxes_xyxy: In any unit.
      levels: Positions in `maps`.
      output_size: Bins along each side.
      sampling_ratio: Samples of a bin along each side.
      spatial_scales: Cells per unit of the boxes, for each map.
      aligned: Whether to move boxes by half a cell.

    Raises:
      ValueError: if a number is not above 0, or there are not as many scales as maps.
    """
    if min(output_size, sampling_ratio) < 1 or min(spatial_scales) <= 0:
        raise ValueError(
            f"output_size={output_size}, sampling_ratio={sampling_ratio}, spatial scales "
            f"{tuple(spatial_scales)}: give positive numbers"
        )
    if len(maps) != len(spatial_scales):
        raise ValueError(f"{len(maps)} maps and {len(spatial_scales)} scales: give one for each")
    scales = jnp.asarray(spatial_scales, boxes_xyxy.dtype)
    # Every box in cells of its map.
    boxes = boxes_xyxy * scales[levels][:, None] - (0.5 if aligned else 0.0)
    low, side = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    if not aligned:
        side = jnp.maximum(side, 1.0)
    count = output_size * sampling_ratio
    steps = (jnp.arange(count, dtype=boxes.dtype) + 0.5) / count
    samples = low[:, :, None] + side[:, :, None] * steps[None, None]  # [t, 2, count]
    x, y = samples[:, 0], samples[:, 1]
    cells = sum(m.shape[0] * m.shape[1] for m in maps)
    align = _by_products if cells <= _FEW_CELLS else _by_gathering
    return align(maps, levels, x, y, output_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegionConfig:
    """How boxes of an image become regions of a pyramid.

    Attributes:
      output_size: Bins along each side.
      sampling_ratio: Samples of a bin along each side.
      strides: Pixels per cell of each map.
      aligned: Whether to move boxes by half a cell.
      canonical_size: Square root of the area in pixels from which on boxes read map `canonical_level`.
      canonical_level: Position among the maps.
    """

    output_size: int
    sampling_ratio: int
    strides: tuple[float, ...]
    aligned: bool
    canonical_size: float
    canonical_level: int


def read_regions(
    maps: Sequence[Float[Array, "_ _ c"]], boxes_xyxy: Float[Array, "t 4"], config: RegionConfig
) -> Float[Array, "t s s c"]:
    """Returns the regions of boxes of one image, each of the map of its size.

    A jaxpr shows it as the composite "read_regions".
    """
    return composite("read_regions", regions_of_maps, tuple(maps), boxes_xyxy, config=config)


def regions_of_maps(
    maps: Sequence[Float[Array, "_ _ c"]], boxes_xyxy: Float[Array, "t 4"], *, config: RegionConfig
) -> Float[Array, "t s s c"]:
    """Returns what `read_regions` does."""
    levels = assign_levels(
        boxes_xyxy,
        count=len(maps),
        canonical_size=config.canonical_size,
        canonical_level=config.canonical_level,
    )
    return pyramid_roi_align(
        maps,
        boxes_xyxy,
        levels,
        output_size=config.output_size,
        sampling_ratio=config.sampling_ratio,
        spatial_scales=tuple(1 / stride for stride in config.strides),
        aligned=config.aligned,
    )


def assign_levels(
    boxes_xyxy: Float[Array, "*n 4"],
    *,
    count: int,
    canonical_size: float,
    canonical_level: int,
) -> Int[Array, "*n"]:
    """Returns which of `count` levels each box reads: one coarser for each doubling of its size.

    Args:
      boxes_xyxy: In pixels.
      count: Levels, from fine to coarse.
      canonical_size: Square root of the area in pixels from which on boxes read `canonical_level`.
      canonical_level: Position among the levels.
    """
    size = jnp.sqrt(box_area(boxes_xyxy))
    level = canonical_level + jnp.log2(jnp.maximum(size, 1e-6) / canonical_size)
    # The last term is torchvision's: a size of exactly a power of two counts as it, rounding or not.
    level = jnp.floor(level + 1e-6)
    return jnp.clip(level, 0, count - 1).astype(jnp.int32)


def _by_products(
    maps: Sequence[Float[Array, "_ _ c"]],
    levels: Int[Array, " t"],
    x: Float[Array, "t n"],
    y: Float[Array, "t n"],
    output_size: int,
) -> Float[Array, "t s s c"]:
    """Returns rows of weights times maps times columns; of other levels' maps with weights 0."""
    total = None
    for level, features in enumerate(maps):
        height, width, _ = features.shape
        own = (levels == level).astype(features.dtype)[:, None, None]
        rows = _weights(y, height, output_size).astype(features.dtype) * own  # [t, s, h]
        columns = _weights(x, width, output_size).astype(features.dtype)  # [t, s, w]
        lines = jnp.einsum("tih,hwc->tiwc", rows, features)
        regions = jnp.einsum("tiwc,tjw->tijc", lines, columns)
        total = regions if total is None else total + regions
    assert total is not None  # there are as many maps as scales, and a least scale
    return total


def _weights(samples: Float[Array, "t n"], size: int, bins: int) -> Float[Array, "t s size"]:
    """Returns how much each bin reads of each cell along an axis: the mean of its samples' hats."""
    place, inside = _place(samples, size)
    cells = jnp.arange(size, dtype=samples.dtype)
    hats = jnp.maximum(1.0 - jnp.abs(place[:, :, None] - cells[None, None]), 0.0)
    hats = jnp.where(inside[:, :, None], hats, 0.0)  # [t, n, size]
    return hats.reshape(len(samples), bins, -1, size).mean(2)


def _place(samples: Array, size: int | Array) -> tuple[Array, Array]:
    """Returns where samples read along an axis, and which of them read anything."""
    last = jnp.asarray(size - 1, samples.dtype)
    return jnp.clip(samples, 0.0, last), (samples >= -1.0) & (samples <= last + 1.0)


def _by_gathering(
    maps: Sequence[Float[Array, "_ _ c"]],
    levels: Int[Array, " t"],
    x: Float[Array, "t n"],
    y: Float[Array, "t n"],
    output_size: int,
) -> Float[Array, "t s s c"]:
    """Returns the means of four cells per sample, out of one table of the cells of all maps."""
    sizes = np.asarray([m.shape[:2] for m in maps], np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes.prod(1))[:-1]]).astype(np.int32)
    table = jnp.concatenate([m.reshape(-1, m.shape[-1]) for m in maps])  # [cells, c]
    height, width = (jnp.asarray(n)[levels][:, None] for n in sizes.T)
    start = jnp.asarray(starts)[levels][:, None, None]
    (top, bottom), (left, right) = _neighbours(y, height), _neighbours(x, width)
    total = jnp.zeros((), table.dtype)
    for row, row_share in (top, bottom):
        for column, column_share in (left, right):
            at = start + row[:, :, None] * width[:, :, None] + column[:, None, :]  # [t, n, n]
            share = row_share[:, :, None] * column_share[:, None, :]
            total = total + table[at] * share.astype(table.dtype)[..., None]
    t, n = x.shape
    each = n // output_size
    return total.reshape(t, output_size, each, output_size, each, -1).mean((2, 4))


def _neighbours(
    samples: Float[Array, "t n"], size: Int[Array, "t 1"]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Returns the cells before and after each sample along an axis, each with its share."""
    place, inside = _place(samples, size)
    before = jnp.floor(place)
    share = place - jax.lax.stop_gradient(before)
    first = before.astype(jnp.int32)
    second = jnp.minimum(first + 1, size - 1)
    return (first, jnp.where(inside, 1.0 - share, 0.0)), (second, jnp.where(inside, share, 0.0))
