"""Reshaping, padding, joining and cutting."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from attokit.quant.graph import is_quantized
from attokit.quant.lowering.values import Builder, Known, Symbol, Value, part_of, producer

_LONGEST_CONCATENATION = 8  # copies beyond which a broadcast is shorter


def emit_reshape(build: Builder, value: Symbol, shape: tuple[int, ...], first: int = 0) -> Symbol:
    """Emits a reshape unless the shape is the value's own; of a reshape it makes one.

    Args:
      build: Where to.
      value: What is reshaped.
      shape: Of the result.
      first: Which axis of the result is the first of the value, if it is known to be another.
    """
    shape = tuple(int(n) for n in shape)
    inner = producer(value, "reshape")
    if inner is not None and isinstance(inner.inputs[0], Symbol):
        first = first if inner.attributes["keeps_batch"] else 0
        value = inner.inputs[0]
    if shape == value.shape:
        return value
    keeps_batch = bool(shape) and bool(value.shape) and shape[0] == value.shape[0] and not first
    attributes = {"shape": shape, "given": value.shape, "keeps_batch": keeps_batch}
    if first:
        attributes["first"] = first
    return build.emit("reshape", [value], shape, **attributes)


def neighbours(rank: int, together: Callable[[int], bool]) -> list[list[int]]:
    """Returns the axes in groups of neighbours; the batch stays an axis of its own.

    Args:
      rank: How many axes there are.
      together: Tells whether an axis belongs to the one before it.
    """
    groups: list[list[int]] = [[0]]
    for axis in range(1, rank):
        if axis > 1 and together(axis):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def emit_merged(build: Builder, value: Symbol, groups: Sequence[Sequence[int]]) -> Symbol:
    """Emits the reshape that makes one axis of each group of neighbours."""
    shape = tuple(math.prod(value.shape[axis] for axis in group) for group in groups)
    return emit_reshape(build, value, shape)


def reshape(build: Builder, params, value: Symbol, *_: Value) -> Symbol:
    """A reshape, of the value transposed where the equation gives an order of axes."""
    if params["dimensions"] is not None:
        value = emit_transpose(build, value, params["dimensions"])
    return emit_reshape(build, value, params["new_sizes"])


def squeeze(build: Builder, params, value: Symbol) -> Symbol:
    """A reshape that drops axes of size 1."""
    shape = [n for axis, n in enumerate(value.shape) if axis not in params["dimensions"]]
    return emit_reshape(build, value, tuple(shape))


def expand_dims(build: Builder, params, value: Symbol) -> Symbol:
    """A reshape that adds axes of size 1."""
    shape = list(value.shape)
    added = sorted(params["dimensions"])
    for axis in added:
        shape.insert(axis, 1)
    first = next(axis for axis in range(len(added) + 1) if axis not in added)
    return emit_reshape(build, value, tuple(shape), first if value.shape else 0)


def broadcast_in_dim(build: Builder, params, value: Symbol, *_: Value) -> Symbol:
    """A reshape to the new rank, and a broadcast where a size really grows."""
    shape = [1] * len(params["shape"])
    for axis, target in enumerate(params["broadcast_dimensions"]):
        shape[target] = value.shape[axis]
    first = next(iter(params["broadcast_dimensions"]), 0)
    result = emit_reshape(build, value, tuple(shape), first)
    if math.prod(shape) == math.prod(params["shape"]):
        return result
    return build.emit("broadcast", [result], tuple(params["shape"]))


def emit_transpose(build: Builder, value: Symbol, permutation: Sequence[int]) -> Symbol:
    """Emits a permutation of axes; with a transpose right before it becomes one, or none."""
    order = tuple(int(axis) for axis in permutation)
    inner = producer(value, "transpose")
    if inner is not None and isinstance(inner.inputs[0], Symbol):
        value = inner.inputs[0]
        order = tuple(inner.attributes["permutation"][axis] for axis in order)
    if order == tuple(range(len(order))):
        return value
    shape = tuple(value.shape[axis] for axis in order)
    return build.emit("transpose", [value], shape, permutation=order)


def transpose(build: Builder, params, value: Symbol) -> Symbol:
    """A permutation of axes."""
    return emit_transpose(build, value, params["permutation"])


def rev(build: Builder, params, value: Symbol) -> Symbol:
    """A reversal along axes."""
    for axis in params["dimensions"]:
        if value.shape[axis] > 1:
            value = build.emit("reverse", [value], value.shape, axis=int(axis))
    return value


def emit_pad(
    build: Builder,
    value: Symbol,
    widths: Sequence[tuple[int, int]],
    filling: Known | None = None,
) -> Symbol:
    """Emits a padding at the ends of axes; negative widths cut.

    Args:
      build: Takes the nodes.
      value: What to pad.
      widths: Before and after each axis.
      filling: One number to pad with; None is zero.
    """
    begin = tuple(max(0, -before) for before, _ in widths)
    end = tuple(n - max(0, -after) for n, (_, after) in zip(value.shape, widths, strict=True))
    value = emit_slice(build, value, begin, end)
    widths = tuple((max(0, before), max(0, after)) for before, after in widths)
    if not any(map(any, widths)):
        return value
    shape = tuple(n + a + b for n, (a, b) in zip(value.shape, widths, strict=True))
    if filling is None or (filling.name is None and filling.scalar() == 0):
        inner = producer(value, "pad")
        if inner is not None and isinstance(inner.inputs[0], Symbol):  # one pad does it
            value = inner.inputs[0]
            rows = zip(inner.attributes["widths"], widths, strict=True)
            widths = tuple((a + c, b + d) for (a, b), (c, d) in rows)
        return build.emit("pad", [value], shape, widths=widths)
    return build.emit("pad_v2", [value, filling], shape, widths=widths)


def pad(build: Builder, params, value: Value, filling: Value) -> Symbol:
    """Padding with one number at the ends of axes and between values."""
    if not isinstance(value, Symbol) or not isinstance(filling, Known):
        raise build.error(
            "a pad whose values are known or whose filling depends on the inputs",
            "Pad a value that depends on the inputs with a constant, or use jnp.concatenate.",
        )
    config = [tuple(int(n) for n in row) for row in params["padding_config"]]
    for axis, (_, _, inner) in enumerate(config):
        if inner and value.shape[axis] > 1:
            value = _spread(build, value, axis, inner, filling)
    return emit_pad(build, value, [(low, high) for low, high, _ in config], filling)


def _spread(build: Builder, value: Symbol, axis: int, inner: int, filling: Known) -> Symbol:
    """Puts `inner` cells between the values along an axis: each is padded to a row of its own."""
    if axis == 0:
        raise build.error(
            f"a pad of {inner} cells between the examples of a batch", "Pad along other axes."
        )
    batch, *before = value.shape[: axis + 1]
    after = value.shape[axis + 1 :]
    rows = emit_reshape(build, value, (batch, math.prod(before), 1, math.prod(after)))
    rows = emit_pad(build, rows, ((0, 0), (0, 0), (0, inner), (0, 0)), filling)
    size = value.shape[axis] * (inner + 1)
    wide = emit_reshape(build, rows, (*value.shape[:axis], size, *after))
    end = tuple(n - inner if i == axis else n for i, n in enumerate(wide.shape))
    return emit_slice(build, wide, (0,) * len(end), end)


def concatenate(build: Builder, params, *values: Value) -> Value:
    """A concatenation, a constant where all that varies is empty."""
    axis = params["dimension"]
    parts = [value for value in values if value.shape[axis] > 0]
    if not parts:
        return values[0]
    known = [part for part in parts if isinstance(part, Known)]
    if len(known) == len(parts):
        name = next((part.name for part in known if part.name is not None), None)
        joined = part_of(name, "joined", axis, [part.history for part in known])
        return Known(np.concatenate([part.array for part in known], axis), joined)
    return emit_concatenation(build, parts, axis)


def emit_concatenation(build: Builder, parts: Sequence[Value], axis: int) -> Symbol:
    """Emits a concatenation of what is not empty; one number at either end is padding."""
    first = next(i for i, part in enumerate(parts) if not _is_filling(part))
    last = next(i for i in range(len(parts), 0, -1) if not _is_filling(parts[i - 1]))
    (value, *others) = parts[first:last]
    if others:
        value = _joined(build, parts[first:last], axis)
    assert isinstance(value, Symbol)  # one of the parts is
    for part in reversed(parts[:first]):
        value = _extend(build, value, axis, (part.shape[axis], 0), part)
    for part in parts[last:]:
        value = _extend(build, value, axis, (0, part.shape[axis]), part)
    return value


def _is_filling(value: Value) -> bool:
    """Tells an unnamed float array that holds one number."""
    if not isinstance(value, Known) or value.name is not None:
        return False
    return is_quantized(value.dtype) and value.scalar() is not None


def _extend(
    build: Builder, value: Symbol, axis: int, width: tuple[int, int], part: Value
) -> Symbol:
    assert isinstance(part, Known)  # a filling is
    filling = Known(np.asarray(part.scalar(), part.dtype))
    widths = [width if i == axis else (0, 0) for i in range(len(value.shape))]
    return emit_pad(build, value, widths, filling)


def _joined(build: Builder, parts: Sequence[Value], axis: int) -> Symbol:
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    if axis > 0:  # what is the same for every example has a batch of one
        parts = [part.narrowed([0]) if isinstance(part, Known) else part for part in parts]
    return build.emit("concatenation", list(parts), tuple(shape), axis=int(axis))


def stack(build: Builder, params, *values: Value) -> Value:
    """A concatenation of values with a new axis of size 1 each."""
    axis = params["axis"]
    rows = [
        expand_dims(build, {"dimensions": (axis,)}, value)
        if isinstance(value, Symbol)
        else Known(np.expand_dims(value.array, axis), value.name)
        for value in values
    ]
    return concatenate(build, {"dimension": axis}, *rows)


def tile(build: Builder, params, value: Symbol) -> Symbol:
    """Copies side by side, along each axis."""
    for axis, copies in enumerate(params["reps"]):
        if copies > 1:
            value = emit_copies(build, value, axis, int(copies))
    return value


def emit_copies(build: Builder, value: Symbol, axis: int, copies: int) -> Symbol:
    """Emits `copies` of a value side by side along one axis."""
    if copies <= _LONGEST_CONCATENATION:
        return _joined(build, [value] * copies, axis)
    outer, inner = value.shape[:axis], value.shape[axis:]
    rows = emit_reshape(build, value, (*outer, 1, *inner))
    wide = build.emit("broadcast", [rows], (*outer, copies, *inner))
    return emit_reshape(build, wide, (*outer, copies * inner[0], *inner[1:]))


def emit_slice(build: Builder, value: Symbol, begin: Sequence[int], end: Sequence[int]) -> Symbol:
    """Emits a slice unless it is the whole."""
    shape = tuple(e - b for b, e in zip(begin, end, strict=True))
    if shape == value.shape:
        return value
    size = tuple(
        -1 if b == 0 and n == whole else n
        for b, n, whole in zip(begin, shape, value.shape, strict=True)
    )
    return build.emit("slice", [value], shape, begin=tuple(begin), size=size)


def emit_strided_slice(
    build: Builder,
    value: Symbol,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
) -> Symbol:
    """Emits a slice with positive strides."""
    shape = tuple(-(-(e - b) // s) for b, e, s in zip(begin, end, strides, strict=True))
    whole = (begin[0], end[0], strides[0]) == (0, value.shape[0], 1)
    return build.emit(
        "strided_slice",
        [value],
        shape,
        begin=tuple(begin),
        end=tuple(end),
        strides=tuple(strides),
        keeps_batch=whole,
    )


def slice_(build: Builder, params, value: Symbol) -> Symbol:
    """A slice with positive strides."""
    begin = tuple(int(n) for n in params["start_indices"])
    end = tuple(int(n) for n in params["limit_indices"])
    strides = params["strides"]
    if strides is not None and set(strides) != {1}:
        return emit_strided_slice(build, value, begin, end, tuple(int(n) for n in strides))
    return emit_slice(build, value, begin, end)


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
