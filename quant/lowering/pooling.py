"""Pools: reductions over windows that slide along one or two axes, in any layout."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from attokit.quant.lowering.contraction import padding_name, read_padding
from attokit.quant.lowering.movement import emit_pad, emit_reshape, emit_transpose
from attokit.quant.lowering.values import Builder, Known, Symbol

Padding = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Windows:
    """Where the windows of a reduction lie.

    Attributes:
      sizes: Of the window along each axis.
      strides: Likewise.
      padding: Cells that a window may reach before and after each axis.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Padding

    def counts(self, shape: Sequence[int]) -> np.ndarray:
        """Returns how many cells of each window lie inside, float64, of the output's rank."""
        rows = []
        for n, k, s, (before, after) in zip(
            shape, self.sizes, self.strides, self.padding, strict=True
        ):
            starts = np.arange((n + before + after - k) // s + 1) * s - before
            inside = np.minimum(starts + k, n) - np.maximum(starts, 0)
            rows.append(inside if (inside != inside[:1]).any() else inside[:1])
        return functools.reduce(np.multiply.outer, rows).astype(np.float64)

    def read(self, shape: Sequence[int]) -> Padding:
        """Returns the padding that a window reaches."""
        return read_padding(shape, self.sizes, self.strides, self.padding)

    def same(self, shape: Sequence[int]) -> bool:
        """Tells whether this is what "SAME" or "VALID" means along each axis."""
        return padding_name(shape, self.sizes, self.strides, self.read(shape)) is not None

    def without_padding(self) -> "Windows":
        """Returns the same windows over values that are padded already."""
        return Windows(self.sizes, self.strides, ((0, 0),) * len(self.padding))

    def in_batch(self) -> "Windows":
        """Returns the same windows over a batch of one."""
        return Windows((1, *self.sizes), (1, *self.strides), ((0, 0), *self.padding))


def _windows(build: Builder, params) -> Windows:
    if {*params["base_dilation"], *params["window_dilation"]} != {1}:
        raise build.error(
            f"a pool that is dilated by {tuple(params['base_dilation'])} (values) and "
            f"{tuple(params['window_dilation'])} (windows)",
            "Supported are pools that are not dilated; take every n-th value first.",
        )
    return Windows(
        tuple(map(int, params["window_dimensions"])),
        tuple(map(int, params["window_strides"])),
        tuple((int(a), int(b)) for a, b in params["padding"]),
    )


def _pooled_shape(value: Symbol, windows: Windows) -> tuple[int, ...]:
    rows = zip(value.shape, windows.sizes, windows.strides, windows.padding, strict=True)
    return tuple((n + sum(pad) - k) // s + 1 for n, k, s, pad in rows)


def reduce_window_sum(build: Builder, params, value: Symbol) -> Symbol:
    """A sum over windows; divided by the counts of cells it is an average pool."""
    windows = _windows(build, params)
    return build.emit("window_sum", [value], _pooled_shape(value, windows), windows=windows)


def reduce_window_max(build: Builder, params, value: Symbol) -> Symbol:
    """A max pool; what lies outside of the image is lower than anything."""
    lowest = Known(np.asarray(-np.inf, np.float32))
    return emit_pool(build, "max_pool_2d", value, _windows(build, params), lowest)


def reduce_window_min(build: Builder, params, value: Symbol) -> Symbol:
    """A max pool of the negated values, negated."""
    minus = Known(np.asarray(-1, np.float32))
    negated = build.emit("mul", [value, minus], value.shape)
    peaks = reduce_window_max(build, params, negated)
    return build.emit("mul", [peaks, minus], peaks.shape)


def emit_pool(
    build: Builder, kind: str, value: Symbol, windows: Windows, filling: Known | None
) -> Symbol:
    """Emits a pool over rows and columns of [b, h, w, c], with what brings values there and back.

    Args:
      build: Takes the nodes.
      kind: Of the pool.
      value: In the user's layout.
      windows: Over at most two of its axes.
      filling: What pads where neither "SAME" nor "VALID" fits.
    """
    axes = [
        axis
        for axis, row in enumerate(
            zip(windows.sizes, windows.strides, windows.padding, strict=True)
        )
        if row != (1, 1, (0, 0))
    ]
    if not axes:
        return value
    if axes[0] == 0:  # an image without a batch
        wide = emit_reshape(build, value, (1, *value.shape))
        result = emit_pool(build, kind, wide, windows.in_batch(), filling)
        return emit_reshape(build, result, result.shape[1:])
    if len(axes) > 2:
        raise build.error(
            f"a pool over the axes {tuple(axes)} of shape {value.shape}",
            "Supported are pools over one or two axes; pool twice for more.",
        )
    rest = [axis for axis in range(1, len(value.shape)) if axis not in axes]
    order = [0, *axes, *rest]
    if len(value.shape) == 4 and axes[0] < 3 and axes[-1] < 3:
        order, axes = [0, 1, 2, 3], [1, 2]
    moved = emit_transpose(build, value, order)
    rows = [1] * (2 - len(axes)) + [value.shape[axis] for axis in axes]
    channels = [value.shape[axis] for axis in order[1 + len(axes) :]]
    images = emit_reshape(build, moved, (value.shape[0], *rows, int(np.prod(channels))))
    pooled = _pool_images(build, kind, images, _of_axes(windows, axes), filling)
    sizes = pooled.shape[3 - len(axes) : 3]
    result = emit_reshape(build, pooled, (value.shape[0], *sizes, *channels))
    return emit_transpose(build, result, np.argsort(order).tolist())


def _of_axes(windows: Windows, axes: Sequence[int]) -> Windows:
    """Returns the windows along two axes, rows and columns."""
    missing = 2 - len(axes)
    return Windows(
        (1,) * missing + tuple(windows.sizes[axis] for axis in axes),
        (1,) * missing + tuple(windows.strides[axis] for axis in axes),
        ((0, 0),) * missing + tuple(windows.padding[axis] for axis in axes),
    )


def _pool_images(
    build: Builder, kind: str, images: Symbol, windows: Windows, filling: Known | None
) -> Symbol:
    window, strides = windows.sizes, windows.strides
    outer = Windows((1, *window, 1), (1, *strides, 1), _outer(windows.padding))
    shape, read = _pooled_shape(images, outer), windows.read(images.shape[1:3])
    name = padding_name(images.shape[1:3], window, strides, read)
    if name is None:
        images, name = emit_pad(build, images, _outer(read), _filling(images, filling)), "VALID"
    attributes = {"window": window, "strides": strides, "padding": name}
    return build.emit(kind, [images], shape, **attributes)


def _outer(padding: Padding) -> Padding:
    return ((0, 0), *padding, (0, 0))


def _filling(images: Symbol, filling: Known | None) -> Known | None:
    """Returns what pads; of rectified values zeros are as low as anything."""
    rectified = images.node is not None and images.node.kind in ("relu", "relu6")
    return None if rectified else filling
