"""Recognizes masks, softmax and log-softmax, over any axes and with values left out."""

import math
from collections.abc import Sequence

import numpy as np

from attokit.quant.lowering.movement import emit_reshape, emit_transpose
from attokit.quant.lowering.values import (
    Builder,
    Known,
    Node,
    Symbol,
    Value,
    producer,
    stripped,
    unshaped,
)

_MASK = -1e4  # what is below counts for nothing in a softmax
_LARGEST_RANK = 4  # of the kernels


def mask(node: Node, build: Builder) -> Value | None:
    """A sum with something known that hides some values is a choice: the others keep resolution."""
    if node.kind != "add":
        return None
    values, addend = node.inputs
    if isinstance(values, Known):
        values, addend = addend, values
    if not isinstance(addend, Known) or addend.name is not None or not (addend.array < _MASK).any():
        return None
    seen = addend.array > _MASK
    if not seen.any():
        return None  # an offset
    rest = np.where(seen, addend.array, np.zeros_like(addend.array))
    if rest.any():
        values = build.emit("add", [values, Known(rest)], node.output.shape)
    hidden = Known(addend.array.min())
    return build.emit("select", [Known(seen), values, hidden], node.output.shape)


def softmax(node: Node, build: Builder) -> Value | None:
    """exp(x - m) / sum(exp(x - m)); m is usually the maximum of x."""
    if node.kind != "div" or not all(isinstance(v, Symbol) for v in node.inputs):
        return None
    exponential, total = unary(node.inputs[0], "exp"), node.inputs[1]
    if exponential is None:
        return None
    return _normalized(build, "softmax", exponential, total, total)


def log_softmax(node: Node, build: Builder) -> Value | None:
    """(x - m) - log(sum(exp(x - m)))."""
    if node.kind != "sub" or not all(isinstance(v, Symbol) for v in node.inputs):
        return None
    logarithm = unary(unshaped(node.inputs[1]), "log")
    total = producer(unshaped(logarithm.inputs[0]), "sum") if logarithm is not None else None
    exponential = unary(total.inputs[0], "exp") if total is not None else None
    if exponential is None or exponential.inputs[0] is not node.inputs[0]:
        return None
    assert logarithm is not None
    return _normalized(build, "log_softmax", exponential, logarithm.inputs[0], node.inputs[1])


def _normalized(
    build: Builder, kind: str, exponential: Node, divisor: Value, beside: Value
) -> Value | None:
    """Returns the op if the divisor sums the exponentials over axes that it keeps, else None.

    Args:
      build: Where to emit.
      kind: Of the op.
      exponential: exp(x) or exp(x - m).
      divisor: Its sum, reshaped.
      beside: What has the shape in which the sum is used.
    """
    total = producer(unshaped(divisor), "sum")
    if total is None or not _sums(total.inputs[0], exponential):
        return None
    axes, values = total.attributes["axes"], exponential.inputs[0]
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(values.shape))
    if stripped(beside).shape != kept:
        return None
    shifted = producer(values, "sub")
    if shifted is not None and _is_kept(stripped(shifted.inputs[1]), kept):
        values = shifted.inputs[0]  # what all of a row have in common has no effect
    assert isinstance(values, Symbol)  # what is known was computed while tracing
    return _over_last_axis(build, kind, values, axes)


def _is_kept(value: Value, kept: tuple[int, ...]) -> bool:
    """Tells whether a value is the same along all axes of size 1."""
    shape = (1,) * (len(kept) - len(value.shape)) + value.shape
    return all(n in (1, k) for n, k in zip(shape, kept, strict=True))


def _sums(summands: Value, exponential: Node) -> bool:
    """Tells whether summands are exponentials, or 0 where those are 0 by a mask."""
    if summands is exponential.output:
        return True
    choice, shifted = producer(summands, "select"), producer(exponential.inputs[0], "sub")
    mask = producer(shifted.inputs[0], "select") if shifted is not None else None
    return (
        choice is not None
        and mask is not None
        and choice.inputs[1] is exponential.output
        and _number(choice.inputs[2]) == 0
        and _number(mask.inputs[2]) < _MASK
        and _same(choice.inputs[0], mask.inputs[0])
    )


def _number(value: Value) -> float:
    number = value.scalar() if isinstance(value, Known) else None
    return math.nan if number is None else number


def _same(first: Value, second: Value) -> bool:
    """Tells whether two values are one."""
    if isinstance(first, Known) and isinstance(second, Known):
        return np.array_equal(first.array, second.array)
    return first is second


def _over_last_axis(build: Builder, kind: str, values: Symbol, axes: Sequence[int]) -> Symbol:
    """Emits an op of the last axis for any axes, which are moved there and merged."""
    rest = [axis for axis in range(len(values.shape)) if axis not in axes]
    order = [*rest, *axes]
    moved = emit_transpose(build, values, order)
    shape = moved.shape
    if len(axes) > 1 or len(shape) > _LARGEST_RANK:
        outer = shape[: len(rest)]
        rows = (outer[0], math.prod(outer[1:])) if outer else (1,)
        moved = emit_reshape(build, moved, (*rows, math.prod(shape[len(rest) :])))
    result = emit_reshape(build, build.emit(kind, [moved], moved.shape), shape)
    return emit_transpose(build, result, np.argsort(order).tolist())


def unary(value: Value, name: str) -> Node | None:
    """Returns the node that makes a value if it is the named function of one variable."""
    node = producer(value, "unary")
    return node if node is not None and node.attributes["name"] == name else None
