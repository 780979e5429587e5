"""Activations of 16 bits: for a whole graph, or for the ops that patterns name."""

import fnmatch
from collections.abc import Sequence

from attokit.quant.graph import Graph
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels, Op
from attokit.quant.retyping import bits_of_ops, readers_of, real_ops, retyped
from attokit.quant.selection import matching


def widen(graph: Graph, patterns: Sequence[str] = ("*",), *, keep: Sequence[str] = ()) -> Graph:
    """Returns a graph in which ops compute on int16 activations, with int8 kernels (TFLite's "16x8").

    What the other ops give to these, and take from them, changes its type in explicit `quantize` ops.
    The float function stays the same.  Calibrate the result; scales of the graph that came in do not fit.

    Args:
      graph: As traced.
      patterns: Of the names of the tensors that the ops make (as in a shell: "head/*").  A graph
        input has 16 bits if all that read it are among them.
      keep: Patterns of those among them that stay at 8 bits, and of graph inputs that do.  What
        `quant.keep_float` named stays as it is in any case.

    Raises:
      ValueError: if a pattern fits no op, or none but such as stay float32, or an op has no kernel for int16 in any runtime.
    """
    ops = real_ops(graph)
    able = {name: op for name, op in ops.items() if not graph.is_float(op)}
    for pattern in (*patterns, *keep):
        if pattern != "*" and fnmatch.filter(ops, pattern) and not fnmatch.filter(able, pattern):
            raise ValueError(
                f"all that {pattern!r} fits stays float32 (quant.keep_float): leave the pattern out, or "
                "name fewer there"
            )
    real = [name for name in graph.inputs if graph.tensors[name].quantized]
    kept = matching([*able, *real], keep)
    names = matching(able, patterns) - kept
    chosen = {id(able[name]): able[name] for name in able if name in names}
    unable = [op for op in chosen.values() if table.OPS[op.kind].wide is None]
    _refuse(unable, "any runtime")
    inputs = {
        name: graph.tensors[name].bits if name in kept else _bits_of_input(graph, name, set(chosen))
        for name in graph.inputs
    }
    return retyped(graph, bits_of_ops(graph) | dict.fromkeys(chosen, 16), inputs)


def _bits_of_input(graph: Graph, name: str, chosen: set[int]) -> int:
    """Returns 16 if all that read an input are chosen."""
    tensor = graph.tensors[name]
    readers = [id(op) in chosen for op in readers_of(graph, name)]
    wide = all(readers) if readers else len(chosen) == len(bits_of_ops(graph))
    return 16 if wide and tensor.quantized else tensor.bits


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
            f"wants{more}: keep 8 bits there, quant.widen(graph, keep={names}) or --int8, or leave it to "
            "float32, quant.keep_float or --float32"
        )
