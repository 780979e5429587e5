"""Which channels of a graph may be multiplied without a change of what it computes.

A channel may where everyone that makes it and everyone that reads it goes along.  Convolutions and dense layers
take factors of their channels into kernel and bias.  Ops that are homogeneous (`OpKind.homogeneous`) hand them
on: rectifiers, pools, movements; sums and joins want one factor for all that meets.  Everything else wants none:
inputs and outputs of the graph, clamps such as relu6, curves such as a logistic.

Values that must have one factor are a *class*; class 0 has the factor 1.  Ops other than movements want all values of
a channel, which lies along the last axis, in one class; a movement may spread channels over other axes, as a
shuffle does between its reshapes.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from attokit.quant.coverage import Coverage
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Operand

Classes = Int[np.ndarray, "..."]
_UNBOUNDED = ("none", "relu")  # activations that a positive factor passes


def is_contraction(op: Op) -> bool:
    """Tells convolutions and dense layers, which have a kernel, from all others."""
    return Operand.KERNEL in table.OPS[op.kind].roles


def groups_of(op: Op) -> int:
    """Returns into how many groups a contraction divides its channels."""
    return op.attributes.get("groups", 1)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ChannelFactors:
    """The classes of a graph.

    Attributes:
      graph: Whose.
      classes: Of every activation of a float type, by name; of size 1 along axes that say nothing, which is
        all but the last one for what is no movement.
      count: How many classes there are, class 0 included.
      coverage: The contractions whose channels may be multiplied, and why those of others may not.
    """

    graph: Graph
    classes: Mapping[str, Classes]
    count: int
    coverage: Coverage

    def channels(self, name: str) -> Int[np.ndarray, " c"]:
        """Returns the class of each channel of what a contraction reads or makes."""
        return self.classes[name].reshape(-1)

    def apply(self, weights: Weights, factors: Float[np.ndarray, " n"]) -> dict[str, jax.Array]:
        """Returns the weights with which every channel is `factors[its class]` times what it was.

        Args:
          weights: Of the graph.
          factors: Positive, one per class; that of class 0 is 1.
        """
        changed: dict[str, jax.Array] = dict(weights)
        for op in filter(is_contraction, self.graph.ops):
            made, read = (factors[self.channels(n)] for n in (op.outputs[0], op.inputs[0]))
            kernel, *bias = op.inputs[1:]
            if (made == 1).all() and (read == 1).all():
                continue
            array = np.asarray(weights[kernel], np.float64)
            own = array.reshape(*array.shape[:-1], groups_of(op), -1)
            own = own / read.reshape(groups_of(op), -1).T[:, :, None]
            changed[kernel] = jnp.asarray(own.reshape(array.shape) * made, jnp.float32)
            for name in bias:
                array = np.asarray(weights[name], np.float64)
                changed[name] = jnp.asarray(array * made, jnp.float32)
        return changed


def channel_factors(graph: Graph) -> ChannelFactors:
    """Returns the classes of a graph's channels."""
    found = _Found(graph)
    for op in graph.ops:
        found.add(op)
    for name in graph.outputs:
        found.keep([name], "it leaves the graph")
    return found.result()


class _Found:
    """The classes, as ops are added in their order."""

    def __init__(self, graph: Graph):
        self._graph, self._sets = graph, _Sets()
        self._classes = {n: self._none(n) for n in graph.inputs if self._is_real(n)}
        self._padded: dict[str, str] = {}  # who gave an activation constants between its values
        self._of_weights: dict[str, tuple[Op, list[Classes]]] = {}
        self._odd = {
            name
            for op in graph.ops
            for i, name in enumerate(op.inputs)
            if name in graph.weight_shapes and not (is_contraction(op) and i > 0)
        }

    def result(self) -> ChannelFactors:
        roots = {name: self._sets.roots(own) for name, own in self._classes.items()}
        every = [own.reshape(-1) for own in roots.values()]
        known = np.unique(np.concatenate([np.zeros(1, int), *every]))  # 0 comes first
        classes = {name: np.searchsorted(known, own) for name, own in roots.items()}
        makers = [op.outputs[0] for op in self._graph.ops if is_contraction(op)]
        reached = tuple(name for name in makers if classes[name].any())
        left_out = {n: self._sets.reasons[n] for n in makers if n not in reached}
        coverage = Coverage(reached=reached, left_out=left_out)
        return ChannelFactors(
            graph=self._graph, classes=classes, count=len(known), coverage=coverage
        )

    def keep(self, names: Iterable[str], reason: str) -> None:
        """Gives all values of some activations the factor 1."""
        for name in names:
            if name in self._classes:
                self._sets.join(self._classes[name], np.zeros(1, int), reason)

    def add(self, op: Op) -> None:
        """Adds the classes of what an op makes."""
        how = table.OPS[op.kind].homogeneous
        if is_contraction(op):
            self._add_contraction(op)
        elif how == "no" or op.activation not in _UNBOUNDED:
            reader = op.activation if how != "no" else op.kind
            self._add_barrier(op, f"{reader} of {op.outputs[0]!r} is not homogeneous")
        elif how == "moved":
            self._add_movement(op)
        else:
            self._add_channelwise(op, how == "jointly")

    def _is_real(self, name: str) -> bool:
        return name in self._graph.tensors and self._graph.carried(name) == "float32"

    def _channels(self, name: str) -> int:
        shape = self._graph.operand_shape(name)
        return shape[-1] if shape else 1

    def _shaped(self, name: str, numbers: Classes) -> Classes:
        """Returns numbers of the channels of an activation as an array of its rank."""
        rank = len(self._graph.operand_shape(name))
        return numbers.reshape((1,) * (rank - 1) + (-1,)[: max(rank, 1)])

    def _none(self, name: str) -> Classes:
        return self._shaped(name, np.zeros(self._channels(name), int))

    def _by_channel(self, name: str, reason: str) -> Classes:
        """Returns one class per channel of what an op reads, which joins those that it has."""
        own = self._classes[name]
        rows = own.reshape(-1, own.shape[-1] if own.ndim else 1)
        if name in self._padded:
            kept = (self._sets.roots(rows) == 0).any(0)
            self._sets.join(rows[:, kept], np.zeros(1, int), self._padded[name])
        self._sets.join(rows, rows[:1], reason)
        return np.broadcast_to(rows[0], (self._channels(name),))

    def _real_inputs(self, op: Op) -> list[str]:
        return [name for name in op.inputs if name in self._classes]

    def _add_barrier(self, op: Op, reason: str) -> None:
        self.keep(self._real_inputs(op), reason)
        self._classes |= {name: self._none(name) for name in op.outputs if self._is_real(name)}

    def _add_contraction(self, op: Op) -> None:
        (made,), mixed = op.outputs, f"{op.kind} of {op.outputs[0]!r} mixes channels"
        read = self._by_channel(op.inputs[0], mixed)
        self._classes[op.inputs[0]] = self._shaped(op.inputs[0], read)
        own = self._sets.new(self._channels(made), made)
        self._classes[made] = self._shaped(made, own)
        if op.activation not in _UNBOUNDED:
            self.keep([made], f"it ends in {op.activation}, which is not homogeneous")
        for position, name in enumerate(op.inputs[1:]):
            held = [own, read] if position == 0 else [own]
            if name in self._graph.constants or name in self._odd:
                for classes in held:
                    self._sets.join(classes, np.zeros(1, int), f"{name!r} must stay as it is")
                continue
            other, shared = self._of_weights.setdefault(name, (op, held))
            same = groups_of(other) == groups_of(op)
            for mine, theirs in zip(held, shared, strict=True):
                self._sets.join(mine, theirs if same else np.zeros(1, int), f"it shares {name!r}")

    def _add_channelwise(self, op: Op, jointly: bool) -> None:
        """Channel i of the output comes of channel i of the inputs."""
        (made,), reads = op.outputs, self._real_inputs(op)
        last = len(self._graph.tensors[reads[0]].shape) - 1 if reads else 0
        if last in op.attributes.get("axes", ()):
            return self._add_barrier(op, f"{op.kind} of {made!r} mixes channels")
        if jointly and self._holds_constants(op):
            return self._add_barrier(op, f"{op.kind} of {made!r} adds a constant")
        if not jointly:
            free = [name for name in reads if self._sets.roots(self._classes[name]).any()]
            self.keep(free[1:], f"{op.kind} of {made!r} takes one factor only")
            reads = free[:1]
        own = np.zeros(1, int)
        for i, name in enumerate(reads):
            read = self._by_channel(name, f"{op.kind} of {made!r} mixes channels")
            if i:
                self._sets.join(own, read, f"{op.kind} of {made!r} reads it with another")
            own = read if len(read) >= len(own) else own
        self._classes[made] = self._shaped(made, np.broadcast_to(own, (self._channels(made),)))

    def _holds_constants(self, op: Op) -> bool:
        """Whether an op reads a weight or a constant that is not 0."""
        held = self._graph.constants
        return any(
            name in self._graph.weight_shapes or (name in held and np.any(held[name]))
            for name in op.inputs
        )

    def _add_movement(self, op: Op) -> None:
        """Channels are found again by moving their numbers: 0 is padding, 1 what has the factor 1."""
        (made,) = op.outputs
        reads = self._real_inputs(op)
        if not reads or any(n in self._graph.tensors and n not in reads for n in op.inputs):
            return self._add_barrier(op, f"{op.kind} of {made!r} moves what is not known")
        classes = [np.zeros(2, int)]
        operands = []
        for name in op.inputs:
            if name not in reads:
                operands.append(self._held(name))
                continue
            own, start = self._classes[name], sum(map(len, classes))
            numbers = np.arange(start, start + own.size, dtype=np.float32).reshape(own.shape)
            operands.append(jnp.broadcast_to(jnp.asarray(numbers), self._graph.tensors[name].shape))
            classes.append(own.reshape(-1))
        moved = np.asarray(table.OPS[op.kind].compute(op, *operands)[0]).astype(int)
        self._classes[made] = np.concatenate(classes)[_narrowed(moved)]
        before = [self._padded[name] for name in reads if name in self._padded]
        if before or (moved == 1).any():
            self._padded[made] = [*before, f"{op.kind} of {made!r} pads with a constant"][0]

    def _held(self, name: str) -> jax.Array:
        """Returns a constant's numbers, 0 for what no factor changes (0, infinity); indices as they are."""
        array = self._graph.constants.get(name)
        if array is None:
            return jnp.ones(self._graph.operand_shape(name), jnp.float32)
        if not np.issubdtype(array.dtype, np.floating):
            return jnp.asarray(array)
        return jnp.asarray(((array != 0) & ~np.isinf(array)).astype(np.float32))


def _narrowed(numbers: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Returns numbers with size 1 along each axis along which they stay, or are 0."""
    for axis in range(numbers.ndim - 1):
        most = numbers.max(axis, keepdims=True, initial=0)
        if ((numbers == most) | (numbers == 0)).all():
            numbers = most
    return numbers


class _Sets:
    """Disjoint sets of numbers, of which 0 is the set of what has the factor 1.

    Attributes:
      reasons: Why the channels that a contraction makes came into that set, by its output.
    """

    def __init__(self) -> None:
        self._parent = [0]
        self._makers: dict[int, set[str]] = {}
        self.reasons: dict[str, str] = {}

    def new(self, count: int, maker: str) -> Classes:
        """Returns numbers of sets of their own."""
        start = len(self._parent)
        self._parent += range(start, start + count)
        self._makers |= {i: {maker} for i in range(start, start + count)}
        return np.arange(start, start + count)

    def roots(self, numbers: Classes) -> Classes:
        """Returns the least number of each one's set."""
        found = [self._root(number) for number in numbers.reshape(-1).tolist()]
        return np.asarray(found, int).reshape(numbers.shape)

    def _root(self, number: int) -> int:
        while (parent := self._parent[number]) != number:
            self._parent[number] = self._parent[parent]
            number = parent
        return number

    def join(self, first: Classes, second: Classes, reason: str) -> None:
        """Makes one set of each pair; the arrays broadcast."""
        pairs = (both.reshape(-1).tolist() for both in np.broadcast_arrays(first, second))
        for pair in set(zip(*pairs, strict=True)):
            keep, drop = sorted(map(self._root, pair))
            if keep == drop:
                continue
            self._parent[drop] = keep
            makers = self._makers.pop(drop, set())
            if keep:
                self._makers[keep] |= makers
            else:
                for maker in makers:
                    self.reasons.setdefault(maker, reason)


__all__ = ["ChannelFactors", "channel_factors", "groups_of", "is_contraction"]
