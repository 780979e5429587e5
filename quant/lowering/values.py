"""What flows through lowering: arrays that are known, symbols that are not, and nodes.

Nodes are mutable; rewriting (`quant.rewrite`) changes them in place until they are ops of a graph.
Besides the kinds of `ops.table` there are a few that only rewriting understands (`window_sum`,
`sum`, `unary`, `convert`, `div`, `broadcast`, `interpolate`); those that remain are errors.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from attokit.quant.ops.kind import Activation


class WeightName(str):
    """Path of the leaf that an array is or was made of, as text, and what was done to it.

    Attributes:
      made: Digest of the steps from the leaf; equal where the same was done, "" of the whole leaf. Equal values
        alone do not make two arrays one weight: training may part them.
    """

    made: str

    def __new__(cls, path: str, made: str = "") -> "WeightName":
        """Returns a name with its history."""
        name = super().__new__(cls, path)
        name.made = made
        return name

    def after(self, *step: object) -> "WeightName":
        """Returns the name of what a step makes of the array; the text of its parts tells it from others."""
        text = repr((self.made, *step))
        return WeightName(self, hashlib.blake2b(text.encode(), digest_size=16).hexdigest())


def made_of(name: str | None) -> tuple[str, str] | None:
    """Returns what two arrays of one history have in common: their leaf, and what was done to it."""
    return None if name is None else (str(name), getattr(name, "made", ""))


def named_after(name: str | None, *step: object) -> WeightName | None:
    """Returns the name of what a step makes of an array; None of a constant's."""
    if name is None:
        return None
    return (name if isinstance(name, WeightName) else WeightName(name)).after(*step)


def part_of(name: str | None, *where: object) -> WeightName | None:
    """Returns the name of a part of an array; None of a constant's."""
    return named_after(name, "part", *where)


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """An array that depends on weights or constants alone.

    Attributes:
      array: Its value.
      name: Path of the weight that it is or was made from (`WeightName`), or None for constants.
      drawn: The user's line that drew random numbers it was made from, or "".
    """

    array: np.ndarray
    name: str | None = None
    drawn: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        """The array's type."""
        return self.array.dtype

    def scalar(self) -> float | None:
        """Returns the one value that all entries have, or None."""
        flat = self.array.reshape(-1) if self.array.size else np.zeros(1)
        same = flat == flat[0] if flat[0] == flat[0] else flat != flat  # NaN equals nothing
        return flat[0].item() if same.all() else None

    @property
    def history(self) -> object:
        """What tells how it came about: of a constant its values."""
        if self.name is not None:
            return made_of(self.name)
        content = np.ascontiguousarray(self.narrowed(range(self.array.ndim)).array).tobytes()
        return self.shape, str(self.dtype), hashlib.blake2b(content, digest_size=16).hexdigest()

    def entries(self) -> np.ndarray:
        """Returns what is equal only where entries always are: of a constant its values, of a weight their places."""
        if self.name is None:
            return self.array
        narrow = self.narrowed(range(self.array.ndim)).shape
        return np.broadcast_to(np.arange(math.prod(narrow)).reshape(narrow), self.shape)

    def repeated(self) -> np.ndarray:
        """Returns the array as a view of its entries without repetitions, where it has axes."""
        if not self.shape or jax.dtypes.issubdtype(self.dtype, jax.dtypes.prng_key):
            return self.array
        return np.broadcast_to(self.narrowed(range(len(self.shape))).array, self.shape)

    def narrowed(self, axes: Iterable[int]) -> "Known":
        """Returns this with size 1 along those of some axes where it repeats itself.

        A constant that repeats itself along the batch would else fit no other batch.  A weight's
        entries count as repeated only where it was broadcast: equal values may come to differ.
        """
        array = self.array
        for axis in axes:
            first = array[(slice(None),) * axis + (slice(0, 1),)]
            if array.shape[axis] > 1 and (
                array.strides[axis] == 0 or (self.name is None and (array == first).all())
            ):
                array = first
        return self if array.shape == self.shape else Known(array, self.name)


@dataclasses.dataclass(frozen=True, eq=False)
class Symbol:
    """A value that depends on the inputs.

    Attributes:
      shape: Static.
      dtype: Of the traced function.
      node: What makes it; None for a graph input.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    node: "Node | None" = None


Value = Known | Symbol


@dataclasses.dataclass(eq=False, kw_only=True)
class Node:
    """An op in the making.

    Attributes:
      kind: Of `ops.table.OPS`, or one that rewriting resolves.
      inputs: Its operands.
      attributes: As the kind documents.
      activation: Fused activation.
      source: The user's line.
      scope: Path of the user's module, "" where there is none.
      outputs: The symbols it makes (set by `Builder.emit`).
    """

    kind: str
    inputs: list[Value]
    attributes: dict[str, Any]
    source: str
    scope: str
    activation: Activation = "none"
    outputs: list[Symbol] = dataclasses.field(default_factory=list)

    @property
    def output(self) -> Symbol:
        """The first output."""
        return self.outputs[0]


def producer(value: Value, *kinds: str) -> Node | None:
    """Returns the node that makes a value if it is of one of the kinds, else None."""
    node = value.node if isinstance(value, Symbol) else None
    return node if node is not None and node.kind in kinds else None


def stripped(value: Value) -> Value:
    """Returns the value before it was broadcast: graph ops broadcast by themselves."""
    node = producer(value, "broadcast")
    return node.inputs[0] if node is not None else value


def unshaped(value: Value) -> Value:
    """Returns the value before reshapes and broadcasts that only add axes of size 1 or repeat."""
    while (node := producer(value, "reshape", "broadcast")) is not None:
        value = node.inputs[0]
    return value


def between(roots: Sequence[Symbol], last: Node) -> list[Node]:
    """Returns the nodes from some roots to a node, in execution order."""
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
            if isinstance(value, Symbol) and value not in roots and value.node is not None:
                pending.append((value.node, False))
    return list(order)


class Builder:
    """Collects nodes in execution order.

    Attributes:
      nodes: What was emitted so far.
      source: The user's line that the next nodes stand for.
      scope: The module that they belong to.
      notes: What the user should know, and the line that it concerns.
    """

    def __init__(self, source: str = "", scope: str = "") -> None:
        self.nodes: list[Node] = []
        self.notes: list[tuple[str, str]] = []
        self.source, self.scope = source, scope

    def emit(
        self,
        kind: str,
        inputs: list[Value],
        shape: tuple[int, ...],
        /,
        *,
        result: Any = None,
        **attributes: Any,
    ) -> Symbol:
        """Appends a node with one output and returns that.

        Args:
          kind: Of the node.
          inputs: Its operands.
          shape: Of the output.
          result: Its type; if None the first operand's that is of a float type, or else the first's that is
            no condition, or else bool.
          **attributes: Of the node.
        """
        types = [v.dtype for v in inputs]
        floats = [t for t in types if jax.dtypes.issubdtype(t, np.floating)]
        numbers = [t for t in types if t != np.bool_]
        dtype = np.dtype(result) if result is not None else (floats or numbers or types)[0]
        return self.emit_several(kind, inputs, [(tuple(shape), dtype)], **attributes)[0]

    def emit_several(
        self,
        kind: str,
        inputs: list[Value],
        results: Sequence[tuple[tuple[int, ...], np.dtype]],
        /,
        **attributes: Any,
    ) -> list[Symbol]:
        """Appends a node and returns its outputs, which have these shapes and types."""
        node = Node(
            kind=kind,
            inputs=inputs,
            attributes=attributes,
            source=self.source,
            scope=self.scope,
        )
        node.outputs += [Symbol(shape, dtype, node) for shape, dtype in results]
        self.nodes.append(node)
        return list(node.outputs)

    def error(self, problem: str, cure: str) -> "UnsupportedOpError":
        """Returns an error that names the user's line."""
        where = f" at {self.source}" if self.source else ""
        return UnsupportedOpError(f"{problem}{where}. {cure}")


class UnsupportedOpError(ValueError):
    """The function holds something that no graph op stands for."""
