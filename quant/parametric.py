"""Recognizes rectifiers whose slope is a weight: PRELU, in the ways that people spell it."""

import numpy as np

from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer

_ABOVE, _BELOW = ("greater", "greater_equal"), ("less", "less_equal")


def prelu(node: Node, build: Builder) -> Value | None:
    """X where it is positive, slope * x where it is negative."""
    found = _by_choice(node) if node.kind == "select" else _by_parts(node)
    if found is None:
        return None
    values, slope = found
    if slope.name is None and slope.scalar() is not None:  # a leaky relu
        return None
    wide = np.broadcast_shapes(values.shape, slope.shape)
    if not wide == values.shape == node.output.shape:  # the kernel's values are never broadcast
        return None
    return build.emit("prelu", [values, slope], values.shape)


def _by_choice(node: Node) -> tuple[Symbol, Known] | None:
    """where(x >= 0, x, slope * x)."""
    condition, chosen, otherwise = node.inputs
    asked = producer(condition, *_ABOVE, *_BELOW)
    if asked is None:
        return None
    values, bound = asked.inputs
    zero = isinstance(bound, Known) and bound.name is None and bound.scalar() == 0
    if not zero or not isinstance(values, Symbol):
        return None
    if asked.kind in _BELOW:
        chosen, otherwise = otherwise, chosen
    product = _product(otherwise)
    if chosen is not values or product is None or product[0] is not values:
        return None
    return values, product[1]


def _by_parts(node: Node) -> tuple[Symbol, Known] | None:
    """max(x, 0) + slope * min(x, 0), or max(x, 0) - slope * max(-x, 0)."""
    if node.kind not in ("add", "sub"):
        return None
    pairs = [node.inputs, node.inputs[::-1]] if node.kind == "add" else [node.inputs]
    for first, second in pairs:
        positive, product = producer(first, "relu"), _product(second)
        if positive is None or product is None:
            continue
        (values,) = positive.inputs
        negative = _negative_part(product[0], node.kind)
        if isinstance(values, Symbol) and negative is values:
            return values, product[1]
    return None


def _negative_part(value: Value, joined_by: str) -> Value | None:
    """Returns x of min(x, 0), or of max(-x, 0) where that is subtracted."""
    if joined_by == "add":
        node = producer(value, "minimum")
        return _of_constant(node, 0) if node is not None else None
    rectified = producer(value, "relu")
    negated = producer(rectified.inputs[0], "mul") if rectified is not None else None
    return _of_constant(negated, -1) if negated is not None else None


def _of_constant(node: Node, constant: float) -> Value | None:
    """Returns the other operand of a node, one of which is the given number."""
    for value, other in (node.inputs, node.inputs[::-1]):
        if isinstance(other, Known) and other.scalar() == constant:
            return value
    return None


def _product(value: Value) -> tuple[Symbol, Known] | None:
    """Returns the operands of a product of something with something known."""
    node = producer(value, "mul")
    if node is None:
        return None
    for first, second in (node.inputs, node.inputs[::-1]):
        if isinstance(first, Symbol) and isinstance(second, Known):
            return first, second
    return None
