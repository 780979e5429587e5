"""Recognizes normalizations, and computes them in the order that eight bits survive.

- mean(x**2) - mean(x)**2 becomes mean((x - mean(x))**2): the difference of two large numbers would
  be nothing but their rounding.
- (x - mean) * (rsqrt(var) * gamma) becomes ((x - mean) * rsqrt(var)) * gamma: what is normalized
  has the same range everywhere, the product of two factors has not.
- x * rsqrt(sum(x**2)) over the last axis is TFLite's L2_NORMALIZATION, which sums in 32 bits, so
  that rows of any magnitude come out equally exact; layer and RMS norms are that times a constant.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from attokit.quant import functions
from attokit.quant.functions import Composite, Step
from attokit.quant.lowering.movement import emit_merged, emit_reshape, neighbours
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

_RANK = 4  # up to which every runtime broadcasts and takes means
_TOTALS = np.geomspace(1e-3, 1e4, 65).astype(np.float32)  # of squares, that eight bits can tell
_CLOSE = 1e-2  # by which an epsilon may change them: one step of the output is 1/128


def variance(node: Node, build: Builder) -> Value | None:
    """The mean of squares minus the square of the mean is the mean of squared differences."""
    if node.kind != "sub":
        return None
    squares = producer(unshaped(node.inputs[0]), "mean")
    mean = producer(unshaped(_squared(node.inputs[1])), "mean")
    if squares is None or mean is None or squares.attributes["axes"] != mean.attributes["axes"]:
        return None
    (values,) = mean.inputs
    if _squared(squares.inputs[0]) is not values or not isinstance(values, Symbol):
        return None
    if math.prod(node.output.shape) != math.prod(mean.output.shape):
        return None
    values, axes = _narrowed(build, values, mean.attributes["axes"])
    centre = _mean(build, values, axes)
    difference = build.emit("sub", [values, centre], values.shape)
    squared = build.emit("mul", [difference, difference], values.shape)
    return _mean_of_shape(build, squared, axes, node.output.shape)


def _squared(value: Value) -> Value:
    """Returns x of x * x; of anything else a value that is equal to no other."""
    node = producer(unshaped(value), "mul")
    if node is None or node.inputs[0] is not node.inputs[1]:
        return Known(np.zeros(0))
    return node.inputs[0]


def _mean(build: Builder, values: Symbol, axes: tuple[int, ...]) -> Symbol:
    kept = kept_shape(values.shape, axes)
    return build.emit("mean", [values], kept, axes=axes, keepdims=True)


def _mean_of_shape(
    build: Builder, values: Symbol, axes: tuple[int, ...], shape: tuple[int, ...]
) -> Symbol:
    """Returns a mean in a shape that may lack the axes, keep them, or be another."""
    rest = tuple(n for axis, n in enumerate(values.shape) if axis not in axes)
    if rest == shape:
        return build.emit("mean", [values], rest, axes=axes, keepdims=False)
    return emit_reshape(build, _mean(build, values, axes), shape)


def narrow_mean(node: Node, build: Builder) -> Value | None:
    """A mean over many axes, as group norm takes it, with neighbours merged."""
    if node.kind != "mean" or len(node.inputs[0].shape) <= _RANK:
        return None
    (values,) = node.inputs
    assert isinstance(values, Symbol)  # what is known was reduced while tracing
    narrow, axes = _narrowed(build, values, node.attributes["axes"])
    if narrow is values:
        return None
    return _mean_of_shape(build, narrow, axes, node.output.shape)


def _narrowed(
    build: Builder, values: Symbol, axes: tuple[int, ...]
) -> tuple[Symbol, tuple[int, ...]]:
    """Returns the values with neighbouring axes merged where rank is too high, and the axes."""
    if len(values.shape) <= _RANK:
        return values, axes
    groups = neighbours(len(values.shape), lambda axis: (axis in axes) == (axis - 1 in axes))
    merged = tuple(i for i, group in enumerate(groups) if group[0] in axes)
    return emit_merged(build, values, groups), merged


def nonnegative(node: Node, build: Builder) -> Value | None:
    """A mean of squares is not negative, so it needs no rectifier."""
    del build
    if node.kind != "relu":
        return None
    mean = producer(unshaped(node.inputs[0]), "mean")
    squares = producer(mean.inputs[0], "mul") if mean is not None else None
    if squares is None or squares.inputs[0] is not squares.inputs[1]:
        return None
    return node.inputs[0]


def gain(node: Node, build: Builder) -> Value | None:
    """X * (factor * gamma), with a small factor that depends on x, is (x * factor) * gamma."""
    if node.kind != "mul":
        return None
    for value, product in (node.inputs, node.inputs[::-1]):
        inner = producer(product, "mul")
        if inner is None or not isinstance(value, Symbol) or value.shape != node.output.shape:
            continue
        for factor, gamma in (inner.inputs, inner.inputs[::-1]):
            small = math.prod(factor.shape) < math.prod(product.shape)
            if isinstance(factor, Symbol) and isinstance(gamma, Known) and small:
                normalized = build.emit("mul", [value, factor], value.shape)
                return build.emit("mul", [normalized, gamma], value.shape)
    return None


def l2(node: Node, build: Builder) -> Value | None:
    """X * f(sum(x**2)) over the last axis, where f is 1 / sqrt but for a negligible epsilon.

    So is x * f(mean(x**2)), but for a constant.
    """
    if node.kind != "mul":
        return None
    for values, factor in (node.inputs, node.inputs[::-1]):
        total, of_total = _chain(factor)
        if total is None or not _normalizes(node, values, factor, total):
            continue
        count = values.shape[-1] if total.kind == "mean" else 1
        with jax.ensure_compile_time_eval():
            found = np.asarray(of_total(jnp.asarray(_TOTALS)))
        if np.allclose(found * np.sqrt(_TOTALS), 1, rtol=_CLOSE):
            function = of_total if count == 1 else _per_sum(of_total, count)
            result = build.emit("l2_normalization", [values], values.shape, function=function)
            if count == 1:
                return result
            return build.emit("mul", [result, Known(np.sqrt(np.float32(count)))], values.shape)
    return None


def _normalizes(node: Node, values: Value, factor: Value, total: Node) -> bool:
    """Tells whether a factor per row comes of the row's sum or mean of squares."""
    return (
        _squared(total.inputs[0]) is values
        and total.attributes["axes"] == (len(values.shape) - 1,)
        and stripped(factor).shape == (*values.shape[:-1], 1)
        and node.output.shape == values.shape
    )


def _per_sum(of_mean: Composite, count: int) -> Composite:
    """Returns the factor for rows of the mean square 1 / count, in terms of the sum of squares."""
    share, root = np.float32(1 / count), np.float32(1 / math.sqrt(count))
    later = (
        Step(s.kind, s.attributes, tuple(x + 1 if isinstance(x, int) else x for x in s.operands))
        for s in of_mean.steps
    )
    last = len(of_mean.steps) + 1
    return Composite(
        (
            Step("mul", {}, (0, np.asarray(share))),
            *later,
            Step("mul", {}, (last, np.asarray(root))),
        )
    )


def _chain(value: Value) -> tuple[Node | None, Composite]:
    """Returns the sum or mean that a value is a function of, and the function."""
    steps: list[Step] = []
    while isinstance(value, Symbol) and (node := value.node) is not None:
        if node.kind in ("sum", "mean"):
            return node, _composite(steps)
        symbols = [v for v in node.inputs if isinstance(v, Symbol)]
        numbers = [v for v in node.inputs if isinstance(v, Known)]
        if len(symbols) != 1 or any(n.scalar() is None or n.name is not None for n in numbers):
            break
        if functions.is_elementwise(node):
            operands = (
                np.asarray(v.scalar(), v.dtype) if isinstance(v, Known) else 0 for v in node.inputs
            )
            steps.append(Step(node.kind, dict(node.attributes), tuple(operands)))
        elif node.kind not in ("reshape", "broadcast"):
            break
        value = symbols[0]
    return None, _composite(steps)


def _composite(steps: list[Step]) -> Composite:
    """Returns a chain's function; steps come last first, each reads the one before it."""
    return Composite(
        tuple(
            Step(s.kind, s.attributes, tuple(i if isinstance(x, int) else x for x in s.operands))
            for i, s in enumerate(reversed(steps))
        )
    )
