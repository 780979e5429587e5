"""Recognizes movements of one value, however they are spelled.

Slices, reversals, joins, reshapes and transposes of one value are a movement: an array of
positions.  Reflecting pads, depth to space or upsampling by repetition take many of them, and one
op of TFLite's.  Movements are compared by where they take each element from, not by how they are
written.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np

from attokit.quant.lowering.positions import emit_simple, positions_of
from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, between
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op

_MOVING = frozenset(
    {
        "broadcast",
        "concatenation",
        "gather",
        "mirror_pad",
        "reshape",
        "resize_nearest_neighbor",
        "reverse",
        "slice",
        "strided_slice",
        "transpose",
    }
)
# What ops cost, in copies of the data: a reshape is almost free, accelerators have no gather.
_COSTS = {"reshape": 0.5, "gather": 3.0}
_LARGEST_RANK = 5  # of a transpose that every runtime has
_LARGEST = 1 << 24  # elements; what is larger stays as it is written


class Movements:
    """What only moves one value takes fewer or cheaper ops."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Value]):
        """Takes a program's nodes and what leaves it; the rule is to see every node, in order."""
        self._roots = _roots(nodes)
        leaving = {value for value in outputs if isinstance(value, Symbol)}
        inside = self._read_by(node for node in nodes if node.output in self._roots)
        outside = self._read_by(node for node in nodes if node.output not in self._roots)
        self._last = {
            output
            for output in self._roots
            if output in outside or output in leaving or output not in inside
        }

    @staticmethod
    def _read_by(nodes: Iterable[Node]) -> set[Symbol]:
        return {value for node in nodes for value in node.inputs if isinstance(value, Symbol)}

    def __call__(self, node: Node, build: Builder) -> Value | None:
        """Returns what stands for the node's output, or None."""
        if node.output not in self._last:
            return None
        root = self._roots[node.output]
        starts = _gates(root, node)
        return next((v for v in (_shorter(build, s, node) for s in starts) if v is not None), None)


def _roots(nodes: Sequence[Node]) -> dict[Symbol, Symbol]:
    """Returns the value that each moving node moves, by the node's output."""
    roots: dict[Symbol, Symbol] = {}
    for node in nodes:
        values = node.inputs[:1] if node.kind == "gather" else node.inputs
        indices = node.inputs[1:] if node.kind == "gather" else []
        if node.kind not in _MOVING or any(isinstance(index, Symbol) for index in indices):
            continue
        found = {roots.get(v, v) for v in values if isinstance(v, Symbol)}
        if len(found) == 1 and not any(isinstance(value, Known) for value in values):
            (roots[node.output],) = found
    return roots


def _gates(root: Symbol, last: Node) -> Iterator[Symbol]:
    """Yields the values that all the way from a root to a node goes through, from the root on."""
    yield root
    for node in between((root,), last)[:-2]:
        after = between((root, node.output), last)
        if not any(root in later.inputs for later in after):
            yield node.output


def _shorter(build: Builder, root: Symbol, last: Node) -> Value | None:
    """Returns a movement in fewer or cheaper ops, or None."""
    nodes = between((root,), last)
    shapes = [root.shape, *(node.output.shape for node in nodes)]
    if len(nodes) < 2 or max(map(math.prod, shapes)) > _LARGEST or 0 in last.output.shape:
        return None
    with jax.ensure_compile_time_eval():
        places = {root: jax.numpy.asarray(positions_of(root.shape))}
        for node in nodes:
            places[node.output] = _moved(node, places)
        positions = np.asarray(places[last.output])
    value = emit_simple(build, root, positions)
    if value is None:
        return None
    made = [] if value is root or value.node is None else between((root,), value.node)
    if _cost(made) >= _cost(nodes) or not _moves_alike(root, nodes, made):
        return None
    return value


def _moves_alike(root: Symbol, nodes: Sequence[Node], made: Sequence[Node]) -> bool:
    """Whether what is made of a movement leaves a batch of two where the movement does.

    Positions do not tell where a first axis of size 1 goes: moved elsewhere, it would be lost.
    """
    moved = any(n.kind == "transpose" and n.attributes["permutation"][0] != 0 for n in nodes)
    if not moved or not root.shape or root.shape[0] != 1:
        return True
    inside = {root, *(node.output for node in made)}
    if any(isinstance(v, Symbol) and v not in inside for node in made for v in node.inputs):
        return False  # it joined what is before the root
    try:
        wanted = _shape_of_two(root, nodes)
        grown = [n for n, one in zip(wanted, nodes[-1].output.shape, strict=True) if n != one]
        if grown not in ([], [2]):
            return True  # it merges the batch with rows, in an order that only what follows knows
        return _shape_of_two(root, made) == wanted
    except (TypeError, ValueError):  # it takes no other batch as it is
        return True


def _shape_of_two(root: Symbol, nodes: Sequence[Node]) -> tuple[int, ...]:
    """Returns the shape that movements make of a batch of two."""

    def run(values: jax.Array) -> jax.Array:
        places, result = {root: values}, values
        for node in nodes:
            result = places[node.output] = _moved(node, places)
        return result

    return jax.eval_shape(run, jax.ShapeDtypeStruct((2, *root.shape[1:]), np.int32)).shape


def _cost(nodes: Sequence[Node]) -> float:
    too_wide = (n.kind == "transpose" and len(n.output.shape) > _LARGEST_RANK for n in nodes)
    return sum(_COSTS.get(node.kind, 1) for node in nodes) + 10 * sum(too_wide)


def _moved(node: Node, places: dict[Symbol, jax.Array]) -> jax.Array:
    operands = [v.array if isinstance(v, Known) else places[v] for v in node.inputs]
    if node.kind == "broadcast":
        return jax.numpy.broadcast_to(operands[0], node.output.shape)
    op = Op(kind=node.kind, inputs=(), outputs=(), attributes=node.attributes)
    return table.OPS[node.kind].compute(op, *operands)[0]
