"""Recognizes functions of one variable, however they are spelled.

Whatever elementwise arithmetic of one tensor a network spells out (`x * relu6(x + 3) / 6`,
`where(x > 0, x, expm1(x))`, mish) is a function of int8, so it is a table of 256 entries: one
`lookup`.  Where TFLite has an op of its own for the function, that is taken.  Functions are
compared by their values on a grid of points, not by how they are written.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value
from attokit.quant.ops import lookup, table
from attokit.quant.ops.kind import Function, Op

# Magnitudes from tiny to huge, and zero: enough to tell any two of the functions apart.
_GRID = np.concatenate(
    [np.linspace(-8.1, 8.1, 163), np.geomspace(1e-3, 80, 30), -np.geomspace(1e-3, 80, 30), [0.0]]
).astype(np.float32)
_LARGEST_ARITHMETIC = 2  # adds and multiplications up to which a table of three operators is dearer
_ARITHMETIC = frozenset({"add", "sub", "mul", "maximum", "minimum"})
_RECTIFIERS = frozenset({"relu", "relu6", "relu_n1_to_1"})
# Elementwise nodes that only this pass resolves.
_PENDING = frozenset({"unary", "convert"})


@dataclasses.dataclass(frozen=True, eq=False)
class Composite:
    """A function of one variable, made of nodes.

    Attributes:
      root: The variable.
      nodes: In execution order; each reads the root, earlier nodes and numbers.
    """

    root: Symbol
    nodes: tuple[Node, ...]

    def __call__(self, values: Any) -> Any:
        """Returns the function, elementwise."""
        known: dict[Symbol, Any] = {self.root: values}

        def read(value: Value) -> Any:
            if isinstance(value, Known):
                return np.asarray(value.scalar(), value.dtype)
            return known[value]

        for node in self.nodes:
            known[node.output] = _evaluate(node, [read(value) for value in node.inputs])
        return known[self.nodes[-1].output]

    @property
    def name(self) -> str:
        """What the function is called: by the last step that has a name."""
        steps = [node.attributes.get("name", node.kind) for node in self.nodes]
        return "_".join(dict.fromkeys(steps)) if len(steps) < 4 else f"{steps[0]}_to_{steps[-1]}"


def _evaluate(node: Node, operands: list[Any]) -> Any:
    if node.kind == "unary":
        return node.attributes["function"](jnp.asarray(operands[0]))
    if node.kind == "convert":
        return jnp.asarray(operands[0]).astype(node.attributes["dtype"])
    op = Op(kind=node.kind, inputs=(), outputs=(), attributes=node.attributes)
    return table.OPS[node.kind].compute(op, *map(jnp.asarray, operands))[0]


def resolve_functions(
    nodes: Sequence[Node], outputs: Sequence[Value]
) -> tuple[list[Node], dict[Symbol, Value]]:
    """Replaces the elementwise functions of one variable by ops.

    Args:
      nodes: In execution order.
      outputs: What leaves the program.

    Returns:
      The nodes, with new ones where they belong (those that nobody reads any more are still
      there), and what stands for each output that was replaced.
    """
    regions = _Regions(nodes, outputs)
    result: list[Node] = []
    replaced: dict[Symbol, Value] = {}
    for node in nodes:
        node.inputs = [replaced.get(v, v) if isinstance(v, Symbol) else v for v in node.inputs]
        result.append(node)
        if regions.leaves(node):
            build = Builder(node.source, node.scope)
            value = _realize(build, regions.function_of(node))
            if value is not None:
                result.extend(build.nodes)
                replaced[node.output] = value
    return result, replaced


class _Regions:
    """Maximal sets of elementwise nodes that depend on one symbol alone."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Value]):
        self._roots: dict[Symbol, Symbol] = {}
        self._readers: dict[Symbol, list[Node]] = {}
        self._leaving = {value for value in outputs if isinstance(value, Symbol)}
        for node in nodes:
            for value in node.inputs:
                if isinstance(value, Symbol):
                    self._readers.setdefault(value, []).append(node)
            root = self._root_of(node)
            if root is not None:
                self._roots[node.output] = root

    def _root_of(self, node: Node) -> Symbol | None:
        """Returns the one symbol that an elementwise node is a function of, or None."""
        if not _is_elementwise(node):
            return None
        symbols = [value for value in node.inputs if isinstance(value, Symbol)]
        numbers = [value for value in node.inputs if isinstance(value, Known)]
        if any(number.name is not None or number.scalar() is None for number in numbers):
            return None  # a weight stays a weight, and a vector is no number
        roots = {self._roots.get(symbol, symbol) for symbol in symbols}
        (root, *others) = roots
        same = all(value.shape == node.output.shape for value in (*symbols, root))
        return root if same and not others and _is_real(root) else None

    def leaves(self, node: Node) -> bool:
        """Tells whether a node ends a region: somebody outside of it reads its output."""
        output = node.outputs[0]
        root = self._roots.get(output)
        if root is None or not _is_real(output):
            return False
        inside = (
            self._roots.get(reader.output) is root for reader in self._readers.get(output, ())
        )
        return output in self._leaving or not all(inside) or output not in self._readers

    def function_of(self, node: Node) -> Composite:
        """Returns the node's output as a function of its region's root."""
        root = self._roots[node.output]
        return Composite(root, tuple(_between(root, node)))


def _is_elementwise(node: Node) -> bool:
    if len(node.outputs) != 1 or node.activation != "none":
        return False
    return node.kind in _PENDING or (node.kind in table.OPS and table.OPS[node.kind].elementwise)


def _is_real(symbol: Symbol) -> bool:
    return jax.dtypes.issubdtype(symbol.dtype, np.floating)


def _between(root: Symbol, last: Node) -> list[Node]:
    """Returns the nodes from a root to a node, in execution order."""
    order: dict[Node, None] = {}
    pending = [(last, False)]
    while pending:
        node, ready = pending.pop()
        if node in order:
            continue
        if ready:
            order[node] = None
            continue
        pending.append((node, True))
        for value in node.inputs:
            if isinstance(value, Symbol) and value is not root and value.node is not None:
                pending.append((value.node, False))
    return list(order)


def _realize(build: Builder, function: Composite) -> Value | None:
    """Returns the cheapest form of a function, or None if it has that already."""
    kinds = [node.kind for node in function.nodes]
    if len(kinds) == 1 and kinds[0] not in _PENDING:
        return None
    plain = all(kind in _ARITHMETIC or kind in _RECTIFIERS for kind in kinds)
    if plain and (line := _affine(build, function)) is not None:
        return line
    for part in _tails(function):
        named = _named(build, part)
        if named is not None:
            return named
    arithmetic = [kind for kind in kinds if kind not in _RECTIFIERS]
    if plain and len(arithmetic) <= _LARGEST_ARITHMETIC:
        return None
    return build.emit(
        "lookup",
        [function.root],
        function.root.shape,
        function=Function(function),
        name=function.name,
    )


def _affine(build: Builder, function: Composite) -> Value | None:
    """Returns a * x + b as one product and one sum, which fold into a convolution; else None."""
    if any(node.kind not in ("add", "sub", "mul") for node in function.nodes):
        return None
    values = _values(function)
    shift = values[-1]  # at zero, where the grid ends
    factor = (values[_GRID.argmax()] - shift) / _GRID.max()
    if not _agree(values, factor * _GRID + shift):
        return None
    result = function.root
    if factor != 1:
        result = build.emit("mul", [result, Known(np.asarray(factor))], result.shape)
    if shift != 0:
        result = build.emit("add", [result, Known(np.asarray(shift))], result.shape)
    return result


def _tails(function: Composite) -> list[Composite]:
    """Returns the function, then what is left of it without leading additions and products.

    Those fold into the convolution before them, so that `1 / (1 + exp(-x))` is a logistic even
    where the minus sign belongs to the kernel.
    """
    tails, nodes, root = [function], list(function.nodes), function.root
    while len(nodes) > 1 and nodes[0].kind in ("add", "sub", "mul"):
        cut = nodes[0].output
        if any(root in node.inputs for node in nodes[1:]):
            break
        root, nodes = cut, nodes[1:]
        tails.append(Composite(root, tuple(nodes)))
    return tails


def _values(function: Callable[[Any], Any]) -> np.ndarray:
    with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
        return np.asarray(function(jnp.asarray(_GRID)), np.float32)


def _agree(found: np.ndarray, wanted: np.ndarray) -> bool:
    return np.allclose(found, wanted, rtol=2e-5, atol=2e-6, equal_nan=True)


def _named(build: Builder, function: Composite) -> Value | None:
    """Returns the function as one of TFLite's own ops, or None."""
    values = _values(function)
    root, shape = function.root, function.root.shape
    if _agree(values, _GRID):
        return root
    for kind in _KINDS:
        if _agree(values, _values_of(kind)):
            return build.emit(kind, [root], shape)
    if _agree(values, _values_of("silu")):
        gate = build.emit("logistic", [root], shape)
        return build.emit("mul", [root, gate], shape)
    slope = float(values[_GRID.argmin()] / _GRID.min())
    if _agree(values, np.where(_GRID < 0, _GRID * np.float32(slope), _GRID)):
        return build.emit("leaky_relu", [root], shape, alpha=slope)
    for name, function_ in lookup.FUNCTIONS.items():
        if _agree(values, _values_of(name)):
            return build.emit("lookup", [root], shape, function=function_, name=name)
    return None


# Functions that are a kind of their own, and those that some target has an operator for.
_KINDS = ("relu", "relu6", "relu_n1_to_1", "logistic", "tanh", "hard_swish", "abs")


@functools.cache
def _values_of(name: str) -> np.ndarray:
    if name == "silu":
        return _values(jax.nn.silu)
    if name in lookup.FUNCTIONS:
        return _values(lookup.FUNCTIONS[name].real)
    op = Op(kind=name, inputs=(), outputs=())
    return _values(lambda x: table.OPS[name].compute(op, x)[0])
