"""Activations of 16 bits: for a whole graph, or for the ops that patterns name."""

import dataclasses
import fnmatch
from collections.abc import Sequence

import numpy as np

from attokit.quant.graph import Graph
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels, Op, Operand
from attokit.quant.ranges import assign_ranges


def widen(graph: Graph, patterns: Sequence[str] = ("*",), *, keep: Sequence[str] = ()) -> Graph:
    """Returns a graph in which ops compute on int16 activations, with int8 kernels (TFLite's "16x8").

    What the other ops give to these, and take from them, changes its type in explicit `quantize` ops.
    The float function stays the same.  Calibrate the result; scales of the graph that came in do not fit.

    Args:
      graph: As traced.
      patterns: Of the names of the tensors that the ops make (as in a shell: "head/*").  A graph
        input has 16 bits if all that read it are among them.
      keep: Patterns of those among them that stay at 8 bits.

    Raises:
      ValueError: if a pattern fits no op, or an op has no kernel for int16 in any runtime.
    """
    chosen = _chosen(graph, patterns) - _chosen(graph, keep)
    _refuse(
        [op for op in graph.ops if id(op) in chosen and table.OPS[op.kind].wide is None],
        "any runtime",
    )
    return _Widened(graph, chosen).result()


def check_wide(graph: Graph, kernels: Kernels) -> None:
    """Raises ValueError if ops on int16 have no kernel in a set."""
    _refuse(
        [
            op
            for op in graph.ops
            if graph.is_wide(op)
            and ((wide := table.OPS[op.kind].wide) is None or kernels not in wide.kernels)
        ],
        f"the kernels {kernels!r}",
    )


def _refuse(unable: Sequence[Op], whose: str) -> None:
    """Raises ValueError if there are ops without a kernel for int16."""
    if unable:
        first, names = unable[0], [name for op in unable for name in op.outputs]
        where = f" at {first.source}" if first.source else ""
        more = f" (nor of {len(unable) - 1} others)" if len(unable) > 1 else ""
        raise ValueError(
            f"there is no kernel of {first.kind} for int16 in {whose}, which {first.outputs[0]!r}{where} "
            f"wants{more}: keep 8 bits there, quant.widen(graph, keep={names})"
        )


def _chosen(graph: Graph, patterns: Sequence[str]) -> set[int]:
    """Returns the identities of the ops whose tensors fit a pattern and are quantized."""
    names = {
        name: id(op)
        for op in graph.ops
        for name in op.outputs
        if any(n in graph.tensors and graph.tensors[n].quantized for n in (*op.inputs, *op.outputs))
    }
    chosen: set[int] = set()
    for pattern in patterns:
        fitting = fnmatch.filter(names, pattern)
        if not fitting and not (pattern == "*" and not graph.ops):
            raise ValueError(
                f"no tensor that an op makes fits {pattern!r}; there are {', '.join(list(names)[:8])}"
                f"{' …' if len(names) > 8 else ''}"
            )
        chosen.update(names[name] for name in fitting)
    return chosen


class _Widened:
    """The graph, being written anew."""

    def __init__(self, graph: Graph, chosen: set[int]):
        self._graph, self._chosen = graph, chosen
        self._shapes = {n: (t.shape, t.dtype) for n, t in graph.tensors.items()}
        self._constants = dict(graph.constants)
        self._bits = {name: self._bits_of_input(name) for name in graph.inputs}
        self._ops: list[Op] = []

    def result(self) -> Graph:
        graph = self._graph
        for op in graph.ops:
            bits = 16 if id(op) in self._chosen else 8
            inputs = tuple(self._operand(op, i, bits) for i in range(len(op.inputs)))
            self._bits |= {n: bits for n in op.outputs if graph.tensors[n].quantized}
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

    def _bits_of_input(self, name: str) -> int:
        """Returns 16 if all that read an input are chosen."""
        readers = [id(op) in self._chosen for op in self._graph.ops if name in op.inputs]
        wide = all(readers) if readers else len(self._chosen) == len(self._graph.ops)
        return 16 if wide and self._graph.tensors[name].quantized else 8

    def _operand(self, op: Op, position: int, bits: int) -> str:
        """Returns the name under which an op with so many bits reads an input."""
        name, role = op.inputs[position], self._graph.operands(op)[position]
        if role is Operand.CONSTANT and bits == 16:
            return self._wide_constant(op, name)
        # A change of scale reads either type and gives its own.
        if role is not Operand.ACTIVATION or self._bits[name] == bits or op.kind == "quantize":
            return name
        changed = f"{name}/int{bits}"
        if changed not in self._shapes:
            self._shapes[changed], self._bits[changed] = self._shapes[name], bits
            self._ops.append(
                Op(kind="quantize", inputs=(name,), outputs=(changed,), source=op.source)
            )
        return changed

    def _wide_constant(self, op: Op, name: str) -> str:
        """Returns a constant's name for ops on int16, which want a range of their own for it."""
        narrow = [
            other
            for other in self._graph.ops
            if id(other) not in self._chosen and name in other.inputs
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
