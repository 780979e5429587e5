"""Float islands: ops that stay float32 in an integer file because their names were given."""

from collections.abc import Sequence

from attokit.quant.graph import FLOAT, Graph, carried_type
from attokit.quant.retyping import bits_of_ops, real_ops, retyped
from attokit.quant.selection import matching


def keep_float(graph: Graph, patterns: Sequence[str]) -> Graph:
    """Returns a graph in which the ops that patterns name compute on float32, in an INT8 file too.

    What they read from the others and give to them changes its type in explicit `dequantize` and
    `quantize` ops.  The float function stays the same.  Calibrate the result; scales of the graph that
    came in do not fit.  Combine with `quant.widen` in any order.

    Args:
      graph: As traced, or as `quant.widen` or this function made it.
      patterns: Of the names of the tensors that the ops make (as in a shell: "head/*"), or of graph
        inputs, which are then float32 in the file.

    Raises:
      ValueError: if a pattern fits none of these.
    """
    ops = real_ops(graph)
    inputs = {n: graph.tensors[n] for n in graph.inputs}
    real = [n for n, tensor in inputs.items() if carried_type(tensor.dtype) == "float32"]
    chosen = matching([*ops, *real], patterns)
    named = {id(op): FLOAT for name, op in ops.items() if name in chosen}
    given = {n: FLOAT if n in chosen else tensor.bits for n, tensor in inputs.items()}
    return retyped(graph, bits_of_ops(graph) | named, given)
