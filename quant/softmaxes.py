"""Recognizes masks, softmax, log-softmax and log-sum-exp, over any axes and with values left out."""

import math
from collections.abc import Sequence

import numpy as np

from attokit.quant.lowering.movement import emit_reshape, emit_transpose
from attokit.quant.lowering.reduction import kept_shape
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

_MASK = -1e4  # what is not above counts for nothing in a softmax
_LARGEST_RANK = 4  # of the kernels


def mask(node: Node, build: Builder) -> Value | None:
    """A sum with something known that hides some values is a choice: the others keep resolution."""
    if node.kind != "add":
        return None
    values, addend = node.inputs
    if isinstance(values, Known):
        values, addend = addend, values
    if (
        not isinstance(addend, Known)
        or addend.name is not None
        or not (addend.array <= _MASK).any()
    ):
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
    """(x - m) - log(sum(exp(x - m))), or x - logsumexp(x)."""
    if node.kind != "sub" or not all(isinstance(v, Symbol) for v in node.inputs):
        return None
    values, beside = node.inputs
    sum_of = _shifted_log_of_sum(beside)
    if sum_of is None:
        found = _log_of_sum(beside)
        sum_of = None if found is None else (found[0].inputs[0], found[0], found[1])
    if sum_of is None or sum_of[0] is not values:
        return None
    _, exponential, total = sum_of
    return _normalized(build, "log_softmax", exponential, total.output, beside)


def exponential(node: Node, build: Builder) -> Value | None:
    """The exponential of a log-softmax is a softmax."""
    inner = unary(node.output, "exp")
    last = producer(inner.inputs[0], "log_softmax") if inner is not None else None
    if last is None:
        return None
    return build.emit("softmax", last.inputs, node.output.shape)


def shifted_log_sum_exp(node: Node, build: Builder) -> Value | None:
    """M + log(sum(exp(x - m))) is max(x) - max(log_softmax(x))."""
    found = _shifted_log_of_sum(node.output) if node.kind == "add" else None
    if found is None:
        return None
    values, _, total = found
    return _log_sum_exp(build, values, total, node.output.shape)


def log_sum_exp(node: Node, build: Builder) -> Value | None:
    """log(sum(exp(x))) is max(x) - max(log_softmax(x))."""
    found = _log_of_sum(node.output) if unary(node.output, "log") is not None else None
    if found is None:
        return None
    exponential, total = found
    return _log_sum_exp(build, exponential.inputs[0], total, node.output.shape)


def _log_of_sum(value: Value) -> tuple[Node, Node] | None:
    """Returns exponential and sum of log(sum(exp(x))), reshaped; JAX takes the sum's magnitude."""
    logarithm = unary(unshaped(value), "log")
    if logarithm is None:
        return None
    inside = unshaped(logarithm.inputs[0])
    magnitude = unary(inside, "abs")
    total = producer(inside if magnitude is None else unshaped(magnitude.inputs[0]), "sum")
    exponential = unary(total.inputs[0], "exp") if total is not None else None
    return None if total is None or exponential is None else (exponential, total)


def _shifted_log_of_sum(value: Value) -> tuple[Value, Node, Node] | None:
    """Returns x, exponential and sum of m + log(sum(exp(x - m))), reshaped."""
    joined = producer(unshaped(value), "add")
    if joined is None:
        return None
    for logarithm, shift in (joined.inputs, joined.inputs[::-1]):
        found = _log_of_sum(logarithm)
        shifted = producer(found[0].inputs[0], "sub") if found is not None else None
        if found is None or shifted is None:
            continue
        total = found[1]
        same = unshaped(shifted.inputs[1]) is unshaped(shift)
        kept = kept_shape(shifted.output.shape, total.attributes["axes"])
        if (
            same
            and _is_kept(stripped(shifted.inputs[1]), kept)
            and math.prod(joined.output.shape) == math.prod(total.output.shape)
        ):
            return shifted.inputs[0], *found
    return None


def _log_sum_exp(build: Builder, values: Value, total: Node, shape: tuple[int, ...]) -> Symbol:
    """Returns the logarithm of a sum of exponentials, in a given shape.

    Of all forms this has the fewest ops, and an error of 1/32 at most for rows of any length: the
    log-softmax of the greatest value is minus the logarithm that is wanted beside that value.
    """
    assert isinstance(values, Symbol)  # what is known was computed while tracing
    rows = _rows(build, values, total.attributes["axes"])
    outer, last = rows.shape[:-1], (len(rows.shape) - 1,)

    def peak(of: Symbol) -> Symbol:
        return build.emit("reduce_max", [of], outer, axes=last, keepdims=False)

    logarithms = build.emit("log_softmax", [rows], rows.shape)
    return emit_reshape(build, build.emit("sub", [peak(rows), peak(logarithms)], outer), shape)


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
    kept = kept_shape(values.shape, axes)
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
        and _number(mask.inputs[2]) <= _MASK
        and _same(choice.inputs[0], mask.inputs[0])
    )


def _number(value: Value) -> float:
    number = value.scalar() if isinstance(value, Known) and value.name is None else None
    return math.nan if number is None else number


def _same(first: Value, second: Value) -> bool:
    """Tells whether two values are one."""
    if isinstance(first, Known) and isinstance(second, Known):
        return np.array_equal(first.array, second.array)
    return first is second


def _over_last_axis(build: Builder, kind: str, values: Symbol, axes: Sequence[int]) -> Symbol:
    """Emits an op of the last axis for any axes, which are moved there and merged."""
    order = _to_the_end(values, axes)
    rows = _rows(build, values, axes)
    shape = tuple(values.shape[axis] for axis in order)
    result = emit_reshape(build, build.emit(kind, [rows], rows.shape), shape)
    return emit_transpose(build, result, np.argsort(order).tolist())


def _rows(build: Builder, values: Symbol, axes: Sequence[int]) -> Symbol:
    """Returns values with some axes merged into the last, of few enough axes for the kernels."""
    moved = emit_transpose(build, values, _to_the_end(values, axes))
    shape, rest = moved.shape, len(values.shape) - len(axes)
    if len(axes) == 1 and len(shape) <= _LARGEST_RANK:
        return moved
    outer = shape[:rest]
    rows = (outer[0], math.prod(outer[1:])) if outer else (1,)
    return emit_reshape(build, moved, (*rows, math.prod(shape[rest:])))


def _to_the_end(values: Symbol, axes: Sequence[int]) -> list[int]:
    return [*(axis for axis in range(len(values.shape)) if axis not in axes), *axes]


def unary(value: Value, name: str) -> Node | None:
    """Returns the node that makes a value if it is the named function of one variable."""
    node = producer(value, "unary")
    return node if node is not None and node.attributes["name"] == name else None
