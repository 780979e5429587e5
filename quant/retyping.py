"""Gives ops of a graph other types, and puts explicit conversions between those that differ."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from attokit.quant.graph import FLOAT, Graph
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Operand
from attokit.quant.ranges import assign_ranges

_CONVERSIONS = ("quantize", "dequantize")


def real_ops(graph: Graph) -> dict[str, Op]:
    """Returns the ops on reals by the names of what they make; not so changes of type and scale."""
    return {
        name: op
        for op in graph.ops
        if op.kind not in _CONVERSIONS and _types(graph, op)
        for name in op.outputs
    }


def bits_of_ops(graph: Graph) -> dict[int, int]:
    """Returns the bits of what each op on reals computes with, by its identity."""
    return {id(op): _types(graph, op)[0] for op in real_ops(graph).values()}


def readers_of(graph: Graph, name: str) -> list[Op]:
    """Returns the ops that read an activation, as it is or after changes of its type and scale."""
    same, found = {name}, []
    for op in graph.ops:
        if same.isdisjoint(op.inputs):
            continue
        if op.kind in _CONVERSIONS:
            same.update(op.outputs)
        else:
            found.append(op)
    return found


def _types(graph: Graph, op: Op) -> list[int]:
    """Returns the bits of an op's activations that are of a float type, outputs first."""
    names = (*op.outputs, *op.inputs)
    carried = (graph.tensors[n] for n in names if n in graph.tensors)
    return [tensor.bits for tensor in carried if graph.carried(tensor.name) == "float32"]


def floating(graph: Graph) -> Graph:
    """Returns a graph in which the ops of kinds that are `only_float` compute on float32."""
    only = {id(op): FLOAT for op in graph.ops if table.OPS[op.kind].only_float}
    if not only:
        return graph
    return retyped(
        graph, bits_of_ops(graph) | only, {n: graph.tensors[n].bits for n in graph.inputs}
    )


def retyped(graph: Graph, ops: Mapping[int, int], inputs: Mapping[str, int]) -> Graph:
    """Returns the same graph with other types; its ranges and changes of scale are made anew.

    Args:
      graph: Any.
      ops: Bits of every op of `real_ops`, by its identity: 8, 16, or 32 for float32.
      inputs: Bits of every graph input.
    """
    return _Retyped(graph, ops, inputs).result()


class _Retyped:
    """The graph, being written anew."""

    def __init__(self, graph: Graph, ops: Mapping[int, int], inputs: Mapping[str, int]):
        self._graph, self._wanted, self._bits = graph, ops, dict(inputs)
        self._constants = dict(graph.constants)
        self._shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        self._same: dict[str, str] = {}  # what conversions that are left out made
        self._ops: list[Op] = []
        self._keep(graph.inputs)

    def _keep(self, names: Sequence[str]) -> None:
        for name in names:
            tensor = self._graph.tensors[name]
            self._shapes[name] = tensor.shape, tensor.dtype

    def result(self) -> Graph:
        graph = self._graph
        for op in graph.ops:
            if op.kind in _CONVERSIONS:
                self._same[op.outputs[0]] = self._same.get(op.inputs[0], op.inputs[0])
                continue
            bits = self._wanted.get(id(op), 8)
            inputs = tuple(self._operand(op, i, bits) for i in range(len(op.inputs)))
            self._keep(op.outputs)
            real = [n for n in op.outputs if graph.carried(n) == "float32"]
            self._bits |= dict.fromkeys(real, bits)
            self._ops.append(dataclasses.replace(op, inputs=inputs))
        return assign_ranges(
            inputs=dict.fromkeys(graph.inputs),
            outputs=graph.outputs,
            ops=self._ops,
            shapes=self._shapes,
            constants=self._constants,
            bits=self._bits,
            output_names=graph.output_names,
            weight_shapes=graph.weight_shapes,
            out_tree=graph.out_tree,
            notes=graph.notes,
        )

    def _operand(self, op: Op, position: int, bits: int) -> str:
        """Returns the name under which an op with so many bits reads an input."""
        name, role = op.inputs[position], self._graph.operands(op)[position]
        if name not in self._graph.tensors:
            wide = role is Operand.CONSTANT and bits == 16
            return self._wide_constant(op, name) if wide else name
        name = self._same.get(name, name)
        if self._graph.carried(name) != "float32" or self._bits[name] == bits:
            return name
        kind, suffix = ("dequantize", "float32") if bits == FLOAT else ("quantize", f"int{bits}")
        changed = f"{name}/{suffix}"
        if changed not in self._shapes:
            self._shapes[changed], self._bits[changed] = self._shapes[name], bits
            self._ops.append(Op(kind=kind, inputs=(name,), outputs=(changed,), source=op.source))
        return changed

    def _wide_constant(self, op: Op, name: str) -> str:
        """Returns a constant's name for ops on int16, which want a range of their own for it."""
        narrow = [
            other
            for other in self._graph.ops
            if self._wanted.get(id(other), 8) == 8 and name in other.inputs
        ]
        if not narrow:
            return name
        if name not in self._constants:
            raise ValueError(
                f"{op.outputs[0]!r} has 16 bits and {narrow[0].outputs[0]!r} 8, but both read the "
                f"weight {name!r}: name both or neither in quant.widen(graph, [...])"
            )
        self._constants[f"{name}/int16"] = np.asarray(self._constants[name])
        return f"{name}/int16"
