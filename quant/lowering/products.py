"""Matrix products: dense layers, one matrix per head, and products of two activations."""

import math
from collections.abc import Sequence

import numpy as np

from attokit.quant.lowering.movement import emit_reshape, emit_transpose
from attokit.quant.lowering.values import Builder, Known, Symbol, Value


class _Axes:
    """The axes of one operand by the part they play.

    Attributes:
      batch: Shared with the other operand, one matrix each.
      contracted: Summed over.
      free: The rest.
    """

    def __init__(self, rank: int, contracted: Sequence[int], batch: Sequence[int]):
        self.contracted, self.batch = tuple(contracted), tuple(batch)
        self.free = tuple(a for a in range(rank) if a not in (*contracted, *batch))


def dot_general(build: Builder, params, left: Value, right: Value) -> Symbol:
    """Lowers a product over any axes.

    With a known operand it is a dense layer, or a grouped convolution where there is one matrix per
    batch entry; otherwise a batched product of two activations.
    """
    contracted, batch = params["dimension_numbers"]
    axes = [
        _Axes(len(value.shape), summed, own)
        for value, summed, own in zip((left, right), contracted, batch, strict=True)
    ]
    if isinstance(left, Symbol) and isinstance(right, Symbol):
        return _batch_matmul(build, left, axes[0], right, axes[1])
    if isinstance(left, Symbol):
        assert isinstance(right, Known)  # what is known altogether was computed while tracing
        return _product(build, left, axes[0], right, axes[1])
    assert isinstance(right, Symbol)
    result = _product(build, right, axes[1], left, axes[0])
    common, own, other = len(axes[0].batch), len(axes[1].free), len(axes[0].free)
    swapped = (*range(common + own, common + own + other), *range(common, common + own))
    return emit_transpose(build, result, (*range(common), *swapped))


def _sizes(value: Value, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(value.shape[axis] for axis in axes)


def _product(build: Builder, values: Symbol, own: _Axes, matrix: Known, other: _Axes) -> Symbol:
    """Returns a product with weights, axes in the order batch, values' free, matrix's free."""
    common, free, leaving = (
        _sizes(values, own.batch),
        _sizes(values, own.free),
        _sizes(matrix, other.free),
    )
    depth, width = math.prod(_sizes(values, own.contracted)), math.prod(leaving)
    values = emit_transpose(build, values, (*own.free, *own.batch, *own.contracted))
    kernel = matrix.array.transpose((*other.contracted, *other.batch, *other.free))
    groups = math.prod(common)
    if groups == 1:
        rows = free or (1,)
        values = emit_reshape(build, values, (*rows, depth))
        known = Known(kernel.reshape(depth, width), matrix.name)
        result = build.emit("fully_connected", [values, known], (*rows, width))
    else:
        rows = (free[0] if free else 1, math.prod(free[1:]), 1)
        values = emit_reshape(build, values, (*rows, groups * depth))
        known = Known(kernel.reshape(1, 1, depth, groups * width), matrix.name)
        result = build.emit(
            "depthwise_conv_2d" if depth == 1 else "conv_2d",
            [values, known],
            (*rows, groups * width),
            strides=(1, 1),
            padding="VALID",
            dilation=(1, 1),
            groups=groups,
        )
    result = emit_reshape(build, result, (*free, *common, *leaving))
    rank = len(free)
    order = (*range(rank, rank + len(common)), *range(rank))
    return emit_transpose(build, result, (*order, *range(len(order), len(result.shape))))


def _batch_matmul(build: Builder, left: Symbol, first: _Axes, right: Symbol, second: _Axes):
    """Returns a product of two activations; transpositions of matrices are absorbed."""
    batch = _sizes(left, first.batch)
    shape = (*batch, *_sizes(left, first.free), *_sizes(right, second.free))
    merged = (batch[0], math.prod(batch[1:])) if len(batch) > 2 else batch
    rows, depth, columns = (
        math.prod(sizes)
        for sizes in (
            _sizes(left, first.free),
            _sizes(left, first.contracted),
            _sizes(right, second.free),
        )
    )

    def matrices(value: Symbol, axes: _Axes, heads: Sequence[int], tails: Sequence[int], size):
        """Returns the operand as [batch, heads, tails] or [batch, tails, heads], and which."""
        plain, swapped = (*axes.batch, *heads, *tails), (*axes.batch, *tails, *heads)
        swap = swapped == tuple(range(len(swapped))) and swapped != plain
        value = emit_transpose(build, value, swapped if swap else plain)
        return emit_reshape(build, value, (*merged, *(size[::-1] if swap else size))), swap

    left, adj_x = matrices(left, first, first.free, first.contracted, (rows, depth))
    # Kernels walk along rows of both, so [columns, depth] is the cheaper layout of the second.
    right, plain = matrices(right, second, second.free, second.contracted, (columns, depth))
    result = build.emit(
        "batch_matmul", [left, right], (*merged, rows, columns), adj_x=adj_x, adj_y=not plain
    )
    return emit_reshape(build, result, shape)


def cumsum(build: Builder, params, value: Symbol) -> Symbol:
    """A running sum: the product with a triangular matrix of ones."""
    axis, size = params["axis"], value.shape[params["axis"]]
    ones = np.tri(size, dtype=np.float32)  # [to, from]
    last = [a for a in range(len(value.shape)) if a != axis] + [axis]
    rows = emit_transpose(build, value, last)
    kernel = Known(ones if params["reverse"] else np.ascontiguousarray(ones.T))
    vector = len(rows.shape) == 1
    rows = emit_reshape(build, rows, (1, size)) if vector else rows
    result = build.emit("fully_connected", [rows, kernel], rows.shape)
    result = emit_reshape(build, result, (size,)) if vector else result
    return emit_transpose(build, result, np.argsort(last).tolist())


def refused(name: str):
    """Returns what says that there is no such op."""

    def lower(build: Builder, params, value: Symbol) -> Symbol:
        raise build.error(
            f"a {name} over axis {params['axis']} of shape {value.shape}",
            "Of running reductions only cumsum is linear; reduce slices instead, or the whole axis.",
        )

    return lower
