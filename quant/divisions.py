"""Sums and divisions: means, average pools, and what is left of both."""

import math

import numpy as np
from jaxtyping import Array

from attokit.quant.lowering.movement import emit_pad, emit_reshape
from attokit.quant.lowering.pooling import Windows, emit_pool
from attokit.quant.lowering.reduction import kept_shape
from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer, unshaped


def _divided(node: Node, kind: str) -> tuple[Node, np.ndarray] | None:
    """Returns a sum of a kind and what it is divided by, reshaped between or not."""
    dividend, divisor = _divisor(node) or (None, None)
    total = None if dividend is None else producer(unshaped(dividend), kind)
    return None if total is None or divisor is None else (total, divisor)


def _divisor(node: Node) -> tuple[Symbol, np.ndarray] | None:
    """Returns (x, d) of x / d, or of x * (1 / d), with d known and no weight, which may come to differ."""
    first, second = node.inputs if len(node.inputs) == 2 else (None, None)
    if node.kind == "mul" and isinstance(first, Known):
        first, second = second, first
    if not isinstance(first, Symbol) or not isinstance(second, Known) or second.name is not None:
        return None
    if node.kind == "div":
        return first, second.array
    with np.errstate(divide="ignore"):
        return (first, 1 / second.array) if node.kind == "mul" else None


def mean(node: Node, build: Builder) -> Value | None:
    """A sum over axes, divided by the number of summands."""
    found = _divided(node, "sum")
    if found is None:
        return None
    total, divisor = found
    values, axes = total.inputs[0], total.attributes["axes"]
    count = math.prod(values.shape[axis] for axis in axes)
    if not np.allclose(divisor, count, rtol=1e-6):
        return None
    kept = kept_shape(values.shape, axes)
    if node.output.shape == total.output.shape:
        return build.emit("mean", [values], node.output.shape, axes=axes, keepdims=False)
    if node.output.shape == kept:
        return build.emit("mean", [values], node.output.shape, axes=axes, keepdims=True)
    return None


def average_pool(node: Node, build: Builder) -> Value | None:
    """A sum over windows, divided by the number of cells in each."""
    found = _divided(node, "window_sum")
    if found is None:
        return None
    total, divisor = found
    images, windows = total.inputs[0], total.attributes["windows"]
    assert isinstance(images, Symbol)  # what is known was summed while tracing
    whole = math.prod(windows.sizes)
    if np.allclose(divisor, whole, rtol=1e-6):  # the padding counts
        average = _padded_average(build, images, windows)
        same_size = math.prod(average.shape) == math.prod(node.output.shape)
        return emit_reshape(build, average, node.output.shape) if same_size else None
    if total.output.shape != node.output.shape or not windows.same(images.shape):
        return None
    counts = windows.counts(images.shape)
    if np.broadcast_shapes(divisor.shape, counts.shape, node.output.shape) != node.output.shape:
        return None
    if not np.allclose(divisor, counts, rtol=1e-6):
        return None
    return emit_pool(build, "average_pool_2d", images, windows, None)


def _padded_average(build: Builder, images: Symbol, windows: Windows) -> Symbol:
    """An average that counts padding as zeros, which TFLite wants to see: whole windows only."""
    padded = emit_pad(build, images, windows.read(images.shape))
    return emit_pool(build, "average_pool_2d", padded, windows.without_padding(), None)


def division(node: Node, build: Builder) -> Value | None:
    """Division by something known is multiplication."""
    if node.kind != "div" or not isinstance(node.inputs[1], Known):
        return None
    divisor = node.inputs[1]
    with np.errstate(divide="ignore"):
        inverse = Known(1 / divisor.array.astype(np.float64), divisor.name)
    return build.emit("mul", [node.inputs[0], inverse], node.output.shape)


def total(node: Node, build: Builder) -> Value | None:
    """A sum that is no mean is a mean times the count, which keeps its precision."""
    if node.kind != "sum":
        return None
    values, axes = node.inputs[0], node.attributes["axes"]
    mean = build.emit("mean", [values], node.output.shape, **node.attributes)
    return _times(build, mean, math.prod(values.shape[axis] for axis in axes))


def window_total(node: Node, build: Builder) -> Value | None:
    """A sum over windows is an average times their size; what pads counts as zeros."""
    if node.kind != "window_sum":
        return None
    images, windows = node.inputs[0], node.attributes["windows"]
    assert isinstance(images, Symbol)  # what is known was summed while tracing
    return _times(build, _padded_average(build, images, windows), math.prod(windows.sizes))


def _times(build: Builder, value: Symbol, count: int) -> Symbol:
    return build.emit("mul", [value, Known(np.asarray(count, np.float32))], value.shape)


def quotient(node: Node, build: Builder) -> Value | None:
    """A division by something that is not known is a product with its reciprocal."""
    if node.kind != "div" or isinstance(node.inputs[1], Known):
        return None
    dividend, divisor = node.inputs
    inverse = build.emit("unary", [divisor], divisor.shape, function=_reciprocal, name="reciprocal")
    return build.emit("mul", [dividend, inverse], node.output.shape)


def _reciprocal(values: Array) -> Array:
    return 1 / values
