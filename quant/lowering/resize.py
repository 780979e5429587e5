"""Bilinear resizing, which JAX spells as a product with a known matrix along each axis.

A matrix that interpolates linearly is recognized by its values and becomes an `interpolate` node;
`resolve` makes one RESIZE_BILINEAR of those along rows and columns.  Any other matrix (cubic,
antialiased) stays a dense layer over its axis.
"""

from collections.abc import Callable

import numpy as np

from attokit.quant.lowering.movement import emit_reshape, emit_transpose
from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer
from attokit.quant.ops import resize
from attokit.quant.ops.resize import Mode

_LARGEST = 4096  # cells of an axis up to which a matrix is compared


def or_else(dot_general: Callable[..., Symbol]) -> Callable[..., Symbol]:
    """Returns the lowering of a matrix product that looks for interpolation first."""

    def lower(build: Builder, params, left: Value, right: Value) -> Symbol:
        found = _interpolated(build, params, left, right)
        return dot_general(build, params, left, right) if found is None else found

    return lower


def _interpolated(build: Builder, params, left: Value, right: Value) -> Symbol | None:
    (axes, others), batch = params["dimension_numbers"]
    matrix_first = isinstance(left, Known)
    value, matrix = (right, left) if matrix_first else (left, right)
    if matrix_first:
        axes, others = others, axes
    if not isinstance(value, Symbol) or not isinstance(matrix, Known) or matrix.name is not None:
        return None
    if any(batch) or len(axes) != 1 or len(matrix.shape) != 2:
        return None
    known = matrix.array if others[0] == 0 else matrix.array.T
    mode = _mode(known)
    if mode is None:
        return None
    axis, rank = int(axes[0]), len(value.shape)
    result = _interpolate(build, value, axis, known.shape[1], mode)
    rest = [i for i in range(rank) if i != axis]
    return emit_transpose(build, result, [axis, *rest] if matrix_first else [*rest, axis])


def _mode(matrix: np.ndarray) -> Mode | None:
    """Returns where the centres lie if a matrix [size, result] interpolates linearly."""
    size, result = matrix.shape
    if max(size, result) > _LARGEST or size == result:
        return None
    if not np.allclose(matrix.sum(axis=0), 1, atol=1e-4):
        return None
    for mode in resize.MODES:
        if np.allclose(matrix, resize.interpolation(size, result, mode), atol=1e-4):
            return mode
    return None


def _interpolate(build: Builder, value: Symbol, axis: int, size: int, mode: Mode) -> Symbol:
    """Emits an interpolation along one axis, before the transpose that may lie in between."""
    moved = producer(value, "transpose")
    if moved is not None and isinstance(moved.inputs[0], Symbol):
        order = moved.attributes["permutation"]
        inner = _interpolate(build, moved.inputs[0], order[axis], size, mode)
        return emit_transpose(build, inner, order)
    shape = tuple(size if i == axis else n for i, n in enumerate(value.shape))
    return build.emit("interpolate", [value], shape, sizes=((axis, size),), mode=mode)


def merge(node: Node, build: Builder) -> Value | None:
    """Two interpolations along axes of their own are one."""
    inner = producer(node.inputs[0], "interpolate") if node.kind == "interpolate" else None
    if inner is None or inner.attributes["mode"] != node.attributes["mode"]:
        return None
    sizes = tuple(sorted((*inner.attributes["sizes"], *node.attributes["sizes"])))
    if len({axis for axis, _ in sizes}) < len(sizes) or len(sizes) > 2:
        return None
    mode = node.attributes["mode"]
    return build.emit("interpolate", inner.inputs, node.output.shape, sizes=sizes, mode=mode)


def resolve(node: Node, build: Builder) -> Value | None:
    """An interpolation is a RESIZE_BILINEAR of [b, h, w, c], with what brings values there."""
    if node.kind != "interpolate":
        return None
    (value,) = node.inputs
    assert isinstance(value, Symbol)  # the product had one factor that depends on the inputs
    return _resized(build, value, dict(node.attributes["sizes"]), node.attributes["mode"])


def _resized(build: Builder, value: Symbol, sizes: dict[int, int], mode: Mode) -> Symbol:
    if 0 in sizes:  # an image without a batch
        wide = emit_reshape(build, value, (1, *value.shape))
        result = _resized(build, wide, {axis + 1: n for axis, n in sizes.items()}, mode)
        return emit_reshape(build, result, result.shape[1:])
    axes = sorted(sizes)
    rest = [axis for axis in range(1, len(value.shape)) if axis not in axes]
    if len(axes) == 1:  # the other axis of the image stays as it is
        spare = [axis for axis in rest if abs(axis - axes[0]) == 1][:1]
        axes, rest = sorted([*axes, *spare]), [axis for axis in rest if axis not in spare]
    order = [0, *axes, *rest]
    moved = emit_transpose(build, value, order)
    rows = [value.shape[axis] for axis in axes]
    channels = [value.shape[axis] for axis in rest]
    ones = [1] * (2 - len(axes))
    images = emit_reshape(
        build, moved, (value.shape[0], *rows, *ones, int(np.prod(channels, dtype=int)))
    )
    size = tuple(sizes.get(axis, value.shape[axis]) for axis in axes)
    full = (*size, *ones)
    shape = (images.shape[0], *full, images.shape[3])
    resized = build.emit("resize_bilinear", [images], shape, size=full, mode=mode)
    result = emit_reshape(build, resized, (value.shape[0], *size, *channels))
    return emit_transpose(build, result, np.argsort(order).tolist())
