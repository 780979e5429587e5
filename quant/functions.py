"""Recognizes functions of one variable, however they are spelled.

Whatever elementwise arithmetic of one tensor a network spells out (`x * relu6(x + 3) / 6`,
`where(x > 0, x, expm1(x))`, mish) is a function of int8, so it is a table of 256 entries: one
`lookup`.  Where TFLite has an op of its own for the function, that is taken.  Functions are
compared by their values on a grid of points, not by how they are written.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, between
from attokit.quant.ops import lookup, table
from attokit.quant.ops.kind import Function, Op

# Magnitudes from tiny to huge, and zero: enough to tell any two of the functions apart.
_GRID = np.concatenate(
    [
        np.linspace(-8.1, 8.1, 163),
        np.geomspace(1e-3, 1e6, 91),
        -np.geomspace(1e-3, 1e6, 91),
        [0.0],
    ]
).astype(np.float32)
_BISECTIONS = 40  # from one point of the grid to the next float32
_LARGEST_ARITHMETIC = 2  # adds and multiplications up to which a table of three operators is dearer
_ARITHMETIC = frozenset({"add", "sub", "mul", "maximum", "minimum"})
_RECTIFIERS = frozenset({"relu", "relu6", "relu_n1_to_1"})
_TURNING = frozenset(
    {
        "ceil", "equal", "floor", "greater", "greater_equal", "is_finite", "less", "less_equal", "not_equal", "round",
        "sign",
    }
)  # fmt: skip
_FOLDING = frozenset({"abs", "integer_pow", "mul", "relu", "relu6", "square"})
# Elementwise nodes that only this pass resolves.
_PENDING = frozenset({"unary", "convert"})


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation of a composite.

    Attributes:
      kind: Of a node.
      attributes: Of the node.
      operands: Numbers, or as `int` the position of an earlier value (0 is the variable itself).
    """

    kind: str
    attributes: Mapping[str, Any]
    operands: tuple[np.ndarray | int, ...]

    def on_host(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the same in NumPy, where it can: JAX would compile every step first."""
        function = _ON_HOST.get(self.attributes["name"] if self.kind == "unary" else self.kind)
        operands = [values[x] if isinstance(x, int) else x for x in self.operands]
        if self.kind == "convert":
            return operands[0].astype(self.attributes["dtype"])
        return np.asarray(self(values) if function is None else function(*operands))

    def __call__(self, values: Sequence[Any]) -> Any:
        """Returns the step's value, given the variable and the values of earlier steps."""
        operands = [values[x] if isinstance(x, int) else x for x in self.operands]
        if self.kind == "unary":
            return self.attributes["function"](jnp.asarray(operands[0]))
        if self.kind == "convert":
            return jnp.asarray(operands[0]).astype(self.attributes["dtype"])
        op = Op(kind=self.kind, inputs=(), outputs=(), attributes=self.attributes)
        return table.OPS[self.kind].compute(op, *map(jnp.asarray, operands))[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Composite:
    """A function of one variable, made of steps.

    Attributes:
      steps: In execution order; the last one is the function's value.
    """

    steps: tuple[Step, ...]

    def __call__(self, values: Any) -> Any:
        """Returns the function, elementwise."""
        known = [values]
        for step in self.steps:
            known.append(step(known))
        return known[-1]

    def on_host(self, values: np.ndarray) -> np.ndarray:
        """Returns the function of float32 values, in NumPy as far as that goes."""
        known = [values]
        for step in self.steps:
            known.append(step.on_host(known))
        return known[-1].astype(np.float32)

    def turns(self) -> np.ndarray:
        """Returns both sides of every place on the grid's span where a comparison or rounding turns, and the middles.

        Between two of them the function has one form, so what agrees with another there and on the grid does so in
        bands, too, that no point of the grid lies in.
        """
        grid = np.unique(_GRID)
        sides = []
        for step, marks in enumerate(self._marks(grid)):
            (turned,) = np.nonzero(marks[1:] != marks[:-1])
            low, high, below = grid[turned], grid[turned + 1], marks[turned]
            for _ in range(_BISECTIONS if turned.size else 0):
                middle = low / 2 + high / 2
                same = self._marks(middle)[step] == below
                low, high = np.where(same, middle, low), np.where(same, high, middle)
            sides += [low, high]
        places = np.unique(np.concatenate([*sides, np.zeros(0, np.float32)]))
        return np.concatenate([places, places[1:] / 2 + places[:-1] / 2])

    def _marks(self, values: np.ndarray) -> list[np.ndarray]:
        """Returns what each step decides that compares, chooses or rounds."""
        known, marks = [values], []
        for step in self.steps:
            operands = [known[x] if isinstance(x, int) else x for x in step.operands]
            known.append(step.on_host(known))
            kind = step.attributes["name"] if step.kind == "unary" else step.kind
            if kind in _TURNING:
                marks.append(np.broadcast_to(known[-1], values.shape))
            elif kind in ("maximum", "minimum"):
                marks.append(np.broadcast_to(operands[0] < operands[1], values.shape))
            elif kind in _FOLDING:  # what comes after may be true on both sides of a place alone
                marks.append(np.broadcast_to(operands[0] > 0, values.shape))
        return marks

    @property
    def name(self) -> str:
        """What the function is called: its first and its last step."""
        names = [str(step.attributes.get("name", step.kind)) for step in self.steps]
        return "_".join(names) if len(names) < 4 else f"{names[0]}_to_{names[-1]}"


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """Nodes that compute a function of one symbol.

    Attributes:
      root: The symbol.
      nodes: In execution order.
    """

    root: Symbol
    nodes: tuple[Node, ...]

    @property
    def kinds(self) -> list[str]:
        return [node.kind for node in self.nodes]

    def function(self) -> Composite:
        """Returns the function, which does not change with the nodes."""
        place: dict[Symbol, int] = {self.root: 0}
        steps = []
        for node in self.nodes:
            operands = (
                place[value]
                if isinstance(value, Symbol)
                else np.asarray(value.scalar(), value.dtype)
                for value in node.inputs
            )
            steps.append(Step(node.kind, dict(node.attributes), tuple(operands)))
            place[node.output] = len(steps)
        return Composite(tuple(steps))

    def after(self, cut: Symbol) -> "_Part | None":
        """Returns the same as a function of an inner symbol, or None if it is not one."""
        nodes = between((cut, self.root), self.nodes[-1])
        own = {cut, *(node.output for node in nodes)}
        reads = (value for node in nodes for value in node.inputs if isinstance(value, Symbol))
        return _Part(cut, tuple(nodes)) if all(value in own for value in reads) else None


class UnaryFunctions:
    """Elementwise arithmetic of one variable is an op of TFLite's, or a table."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Value]):
        """Takes a program's nodes and what leaves it; the rule is to see every node, in order."""
        self._regions = _Regions(nodes, outputs)

    def __call__(self, node: Node, build: Builder) -> Value | None:
        """Returns what stands for the node's output, or None."""
        if not self._regions.leaves(node):
            return None
        value = _realize(build, self._regions.part_of(node))
        if value is not None:
            self._regions.made.add(value)
        return value


class _Regions:
    """Maximal sets of elementwise nodes that depend on one symbol alone.

    Attributes:
      made: Values that replaced others.
    """

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Value]):
        self.made: set[Value] = set()
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
        self._bare: set[Symbol] = set()  # conditions that no table holds: somebody else reads them
        for node in reversed(nodes):
            output = node.outputs[0]
            if output in self._roots and not _is_real(output) and self._is_read_outside(output):
                self._bare.add(output)

    def _root_of(self, node: Node) -> Symbol | None:
        """Returns the one symbol that an elementwise node is a function of, or None."""
        if not is_elementwise(node):
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
        return output in self._roots and _is_real(output) and self._is_read_outside(output)

    def _is_read_outside(self, output: Symbol) -> bool:
        """Tells whether what a region computes is needed beside its last value."""
        readers = self._readers.get(output, ())
        inside = (
            self._roots.get(reader.output) is self._roots[output]
            and reader.output not in self._bare
            for reader in readers
        )
        return output in self._leaving or not readers or not all(inside)

    def part_of(self, node: Node) -> _Part:
        """Returns what makes the node's output of the nearest value that is needed anyway."""
        root = self._roots[node.output]
        part = _Part(root, tuple(between((root,), node)))
        for inner in reversed(part.nodes[:-1]):
            if inner.output in self.made or self.leaves(inner):
                nearer = part.after(inner.output)
                if nearer is not None:
                    return nearer
        return part


def is_elementwise(node: Node) -> bool:
    """Tells whether each element of a node's output depends on one element of every input."""
    if len(node.outputs) != 1 or node.activation != "none":
        return False
    return node.kind in _PENDING or (node.kind in table.OPS and table.OPS[node.kind].elementwise)


def _is_real(symbol: Symbol) -> bool:
    return jax.dtypes.issubdtype(symbol.dtype, np.floating)


def _realize(build: Builder, part: _Part) -> Value | None:
    """Returns the cheapest form of a function, or None if it has that already."""
    kinds = part.kinds
    if len(kinds) == 1 and kinds[0] not in _PENDING:
        return None
    plain = all(kind in _ARITHMETIC or kind in _RECTIFIERS for kind in kinds)
    if plain and (line := _affine(build, part)) is not None:
        return line
    for tail in _tails(part):
        named = _named(build, tail)
        if named is not None:
            return named
    arithmetic = [kind for kind in kinds if kind not in _RECTIFIERS]
    if plain and len(arithmetic) <= _LARGEST_ARITHMETIC:
        return None
    if (ended := _named_and_one_more(build, part)) is not None:
        return ended
    composite = part.function()
    return build.emit(
        "lookup",
        [part.root],
        part.root.shape,
        function=Function(composite, composite.on_host),
        name=composite.name,
    )


def _named_and_one_more(build: Builder, part: _Part) -> Value | None:
    """Returns a function of TFLite's own and one addition or product after it (1 - logistic(x)), or None.

    Two operators on bytes are cheaper than a table, whose places are int32.
    """
    last = part.nodes[-1]
    inner = [value for value in last.inputs if isinstance(value, Symbol)]
    if last.kind not in ("add", "sub", "mul") or len(inner) != 1 or inner[0] is part.root:
        return None
    seen = _Seen(_Part(part.root, tuple(part.nodes[:-1])).function())
    for kind in ("logistic", "tanh"):
        if seen.agrees(kind):
            named = build.emit(kind, [part.root], part.root.shape)
            inputs = [named if value is inner[0] else value for value in last.inputs]
            return build.emit(last.kind, inputs, last.output.shape, **last.attributes)
    return None


def _affine(build: Builder, part: _Part) -> Value | None:
    """Returns a * x + b as one product and one sum, which fold into a convolution; else None."""
    if any(kind not in ("add", "sub", "mul") for kind in part.kinds):
        return None
    values = _values(part.function().on_host)
    shift = values[-1]  # at zero, where the grid ends
    factor = (values[_GRID.argmax()] - shift) / _GRID.max()
    if not _agree(values, factor * _GRID + shift):
        return None
    result = part.root
    if factor != 1:
        result = build.emit("mul", [result, Known(np.asarray(factor))], result.shape)
    if shift != 0:
        result = build.emit("add", [result, Known(np.asarray(shift))], result.shape)
    return result


def _tails(part: _Part) -> list[_Part]:
    """Returns the function, then what is left of it without leading additions and products.

    Those fold into the convolution before them, so that `1 / (1 + exp(-x))` is a logistic even
    where the minus sign belongs to the kernel.
    """
    tails = [part]
    while len(part.nodes) > 1 and part.nodes[0].kind in ("add", "sub", "mul"):
        rest = part.after(part.nodes[0].output)
        if rest is None:
            break
        tails.append(part := rest)
    return tails


def _values(function: Callable[[Any], Any]) -> np.ndarray:
    with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
        return np.asarray(function(_GRID), np.float32)


def _agree(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Tells whether values on the grid are the same but for rounding; at zero, the last, exactly."""
    same = np.allclose(found, wanted, rtol=2e-5, atol=2e-6, equal_nan=True)
    return same and np.allclose(found[-1], wanted[-1], rtol=1e-6, atol=1e-8, equal_nan=True)


class _Seen:
    """A function at the points by which it is told from others."""

    def __init__(self, composite: Composite):
        self._composite = composite
        self.values = _values(composite.on_host)

    def agrees(self, name: str) -> bool:
        """Tells whether it is a function of TFLite's."""
        function = _host_form(name)
        return _agree(self.values, _values_of(name)) and self._agrees_at_turns(function)

    def is_like(self, function: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Tells whether it is a function in NumPy."""
        return _agree(self.values, function(_GRID)) and self._agrees_at_turns(function)

    def _agrees_at_turns(self, function: Callable[[np.ndarray], np.ndarray]) -> bool:
        points, found = self._turns
        with np.errstate(all="ignore"):
            wanted = np.asarray(function(points), np.float32)
        return bool(np.allclose(found, wanted, rtol=2e-5, atol=2e-6, equal_nan=True))

    @functools.cached_property
    def _turns(self) -> tuple[np.ndarray, np.ndarray]:
        with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
            points = self._composite.turns()
            return points, np.asarray(self._composite.on_host(points), np.float32)


def _named(build: Builder, part: _Part) -> Value | None:
    """Returns the function as one of TFLite's own ops, or None."""
    seen = _Seen(part.function())
    root, shape = part.root, part.root.shape
    if seen.is_like(lambda x: x):
        return root
    for kind in _KINDS:
        if seen.agrees(kind):
            return build.emit(kind, [root], shape)
    if seen.agrees("silu"):
        gate = build.emit("logistic", [root], shape)
        return build.emit("mul", [root, gate], shape)
    slope = float(seen.values[_GRID.argmin()] / _GRID.min())
    if np.isfinite(slope) and seen.is_like(lambda x: np.where(x < 0, x * np.float32(slope), x)):
        return build.emit("leaky_relu", [root], shape, alpha=slope)
    for name, function in lookup.FUNCTIONS.items():
        if seen.agrees(name):
            return build.emit("lookup", [root], shape, function=function, name=name)
    return None


# Functions that are a kind of their own, and those that some target has an operator for.
_KINDS = ("relu", "relu6", "relu_n1_to_1", "logistic", "tanh", "hard_swish", "abs")


_HOST_FORMS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": np.abs,
        "hard_swish": lambda x: x * np.clip(x + np.float32(3), 0, 6) / np.float32(6),
        "logistic": lambda x: 1 / (1 + np.exp(-x)),
        "relu": lambda x: np.maximum(x, 0),
        "relu6": lambda x: np.clip(x, 0, 6),
        "relu_n1_to_1": lambda x: np.clip(x, -1, 1),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "tanh": np.tanh,
    }
)
# What composites are made of, by kind of op or name of JAX's primitive.
_ON_HOST: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **_HOST_FORMS,
        "add": np.add,
        "ceil": np.ceil,
        "cos": np.cos,
        "equal": np.equal,
        "exp": np.exp,
        "exp2": np.exp2,
        "expm1": np.expm1,
        "floor": np.floor,
        "greater": np.greater,
        "greater_equal": np.greater_equal,
        "is_finite": np.isfinite,
        "less": np.less,
        "less_equal": np.less_equal,
        "log": np.log,
        "log1p": np.log1p,
        "logical_and": np.logical_and,
        "logical_not": np.logical_not,
        "logical_or": np.logical_or,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "mul": np.multiply,
        "not_equal": np.not_equal,
        "reciprocal": lambda x: 1 / x,
        "rsqrt": lambda x: 1 / np.sqrt(x),
        "select": np.where,
        "sign": np.sign,
        "sin": np.sin,
        "sqrt": np.sqrt,
        "square": np.square,
        "sub": np.subtract,
    }
)


def _host_form(name: str) -> Callable[..., Any]:
    function = _HOST_FORMS.get(name) or lookup.FUNCTIONS[name].host
    assert function is not None, f"{name!r} has no form in NumPy"
    return function


@functools.cache
def _values_of(name: str) -> np.ndarray:
    return _values(_host_form(name))
