"""Reshaping, padding, joining and cutting."""

import math
from collections.abc import Sequence

from attokit.quant.lowering.values import Builder, Known, Symbol, Value


def emit_reshape(build: Builder, value: Symbol, shape: tuple[int, ...]) -> Symbol:
    """Emits a reshape unless the shape is the value's own."""
    shape = tuple(int(n) for n in shape)
    if shape == value.shape:
        return value
    keeps_batch = bool(shape) and bool(value.shape) and shape[0] == value.shape[0]
    return build.emit("reshape", [value], shape, shape=shape, keeps_batch=keeps_batch)


def emit_transpose(build: Builder, value: Symbol, permutation: Sequence[int]) -> Symbol:
    """Emits a permutation of axes unless it leaves them in place."""
    permutation = tuple(int(axis) for axis in permutation)
    if permutation == tuple(range(len(permutation))):
        return value
    shape = tuple(value.shape[axis] for axis in permutation)
    return build.emit("transpose", [value], shape, permutation=permutation)


def reshape(build: Builder, params, value: Symbol, *_: Value) -> Symbol:
    """A reshape."""
    if params.get("dimensions") is not None:
        raise build.error("a reshape with a permutation", "Transpose first, then reshape.")
    return emit_reshape(build, value, params["new_sizes"])


def squeeze(build: Builder, params, value: Symbol) -> Symbol:
    """A reshape that drops axes of size 1."""
    shape = [n for axis, n in enumerate(value.shape) if axis not in params["dimensions"]]
    return emit_reshape(build, value, tuple(shape))


def expand_dims(build: Builder, params, value: Symbol) -> Symbol:
    """A reshape that adds axes of size 1."""
    shape = list(value.shape)
    for axis in sorted(params["dimensions"]):
        shape.insert(axis, 1)
    return emit_reshape(build, value, tuple(shape))


def broadcast_in_dim(build: Builder, params, value: Symbol, *_: Value) -> Symbol:
    """A reshape to the new rank, and a broadcast where a size really grows."""
    shape = [1] * len(params["shape"])
    for axis, target in enumerate(params["broadcast_dimensions"]):
        shape[target] = value.shape[axis]
    result = emit_reshape(build, value, tuple(shape))
    if math.prod(shape) == math.prod(params["shape"]):
        return result
    return build.emit("broadcast", [result], tuple(params["shape"]))


def transpose(build: Builder, params, value: Symbol) -> Symbol:
    """A permutation of axes."""
    return emit_transpose(build, value, params["permutation"])


def pad(build: Builder, params, value: Symbol, filling: Value) -> Symbol:
    """Zero padding."""
    config = tuple(tuple(int(n) for n in row) for row in params["padding_config"])
    constant = filling.scalar() if isinstance(filling, Known) else None
    if constant != 0 or any(inner or low < 0 or high < 0 for low, high, inner in config):
        raise build.error(
            f"a pad with filling {constant} and configuration {config}",
            "Supported is zero padding at the ends of axes.",
        )
    widths = tuple((low, high) for low, high, _ in config)
    if not any(map(any, widths)):
        return value
    shape = tuple(n + a + b for n, (a, b) in zip(value.shape, widths, strict=True))
    return build.emit("pad", [value], shape, widths=widths)


def concatenate(build: Builder, params, *values: Value) -> Symbol:
    """A concatenation of values that all depend on the inputs."""
    if any(isinstance(v, Known) for v in values):
        raise build.error(
            "a concatenation with a constant", "Concatenate values that depend on the inputs."
        )
    axis = params["dimension"]
    shape = list(values[0].shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    return build.emit("concatenation", list(values), tuple(shape), axis=axis)


def stack(build: Builder, params, *values: Value) -> Symbol:
    """A concatenation of values with a new axis of size 1 each."""
    axis = params["axis"]
    symbols = [value for value in values if isinstance(value, Symbol)]
    if len(symbols) < len(values):
        raise build.error("a stack with a constant", "Stack values that depend on the inputs.")
    rows = [expand_dims(build, {"dimensions": (axis,)}, symbol) for symbol in symbols]
    return concatenate(build, {"dimension": axis}, *rows)


def slice_(build: Builder, params, value: Symbol) -> Symbol:
    """A slice with positive strides."""
    begin = tuple(int(n) for n in params["start_indices"])
    end = tuple(int(n) for n in params["limit_indices"])
    strides = params["strides"]
    if strides is not None and set(strides) != {1}:
        steps = tuple(int(n) for n in strides)
        shape = tuple(-(-(e - b) // s) for b, e, s in zip(begin, end, steps, strict=True))
        keeps_batch = (begin[0], end[0], steps[0]) == (0, value.shape[0], 1)
        attributes = {"begin": begin, "end": end, "strides": steps, "keeps_batch": keeps_batch}
        return build.emit("strided_slice", [value], shape, **attributes)
    shape = tuple(e - b for b, e in zip(begin, end, strict=True))
    if shape == value.shape:
        return value
    size = tuple(
        -1 if b == 0 and n == whole else n
        for b, n, whole in zip(begin, shape, value.shape, strict=True)
    )
    return build.emit("slice", [value], shape, begin=begin, size=size)


def split(build: Builder, params, value: Symbol) -> list[Symbol]:
    """Slices of the given sizes along one axis."""
    axis, start, parts = params["axis"], 0, []
    for size in params["sizes"]:
        begin = tuple(start if i == axis else 0 for i in range(len(value.shape)))
        sizes = tuple(size if i == axis else -1 for i in range(len(value.shape)))
        shape = tuple(size if i == axis else n for i, n in enumerate(value.shape))
        parts.append(build.emit("slice", [value], shape, begin=begin, size=sizes))
        start += size
    return parts
