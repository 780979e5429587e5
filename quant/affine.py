"""Joins chains of sums and products with constants into one product and one sum.

A batch norm that no convolution can take in is (x - mean) * factor + bias: two ops, not three.
"""

from collections.abc import Callable

import numpy as np

from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer

_KINDS = ("add", "sub", "mul")


def joining(uses: dict[Symbol, int]) -> Callable[[Node, Builder], Value | None]:
    """Returns the rule that writes a chain of constants as factor * x + shift.

    Args:
      uses: How often each symbol is read; is kept up to date.
    """

    def join(node: Node, build: Builder) -> Value | None:
        """A chain of sums and products with constants is one product and one sum."""
        chain = _chain(node, uses)
        if len(chain) < 2:
            return None
        value, factor, shift = _composed(chain)
        ops = (_matters(factor, 1), _matters(shift, 0))
        if sum(ops) >= len(chain):
            return None
        shape = node.output.shape
        if ops[0]:
            value = build.emit("mul", [value, factor], shape)
        if ops[1]:
            value = build.emit("add", [value, shift], shape)
        if isinstance(value, Symbol) and value.shape == shape:
            uses[value] = uses.get(node.output, 0)
            return value
        return None

    return join


def _matters(constant: Known, neutral: float) -> bool:
    """Tells whether a constant does anything, or is a weight that may come to do so."""
    return constant.name is not None or constant.scalar() != neutral


def _parts(node: Node) -> tuple[Symbol, Known, bool] | None:
    """Returns symbol and constant of a sum or product, and whether the constant comes first."""
    if node.kind not in _KINDS or node.activation != "none":
        return None
    first, second = node.inputs
    if isinstance(first, Symbol) and isinstance(second, Known):
        return first, second, False
    if isinstance(first, Known) and isinstance(second, Symbol):
        return second, first, True
    return None


def _chain(node: Node, uses: dict[Symbol, int]) -> list[Node]:
    """Returns the sums and products with constants that end in a node, first to last."""
    chain: list[Node] = []
    current: Node | None = node
    while current is not None and (parts := _parts(current)) is not None:
        value = parts[0]
        if value.shape != node.output.shape or current.output.shape != node.output.shape:
            break
        chain.append(current)
        current = producer(value, *_KINDS) if uses.get(value, 1) == 1 else None
    return chain[::-1]


def _composed(chain: list[Node]) -> tuple[Value, Known, Known]:
    """Returns x, factor and shift of a chain."""
    root = _parts(chain[0])
    assert root is not None  # or it is no chain
    factor, shift = np.ones(()), np.zeros(())
    names: dict[str, str | None] = {"mul": None, "add": None}
    for node in chain:
        parts = _parts(node)
        assert parts is not None
        _, constant, flipped = parts
        array = constant.array.astype(np.float64)
        if node.kind == "mul":
            factor, shift = factor * array, shift * array
        elif flipped and node.kind == "sub":
            factor, shift = -factor, array - shift
        else:
            shift = shift + (array if node.kind == "add" else -array)
        kind = "mul" if node.kind == "mul" else "add"
        names[kind] = constant.name or names[kind]
    if names["add"] is None and shift.any():  # a product of a weight with an unnamed sum
        names["add"] = names["mul"]
    return root[0], Known(factor, names["mul"]), Known(shift, names["add"])
