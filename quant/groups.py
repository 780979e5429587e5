"""Which ops change their type together: an activation has other bits only if the ops around it have."""

from attokit.quant.graph import Graph
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels, Op
from attokit.quant.retyping import real_ops


def ops_around(graph: Graph, name: str) -> tuple[Op, ...]:
    """Returns the ops that make or read what has the scale of an activation, changes of scale included.

    With other bits for one of them alone nothing is won: what it reads and makes would still be rounded to
    the bits of the others.
    """
    key = graph.tensors[name].range_name
    tied = {n for n, tensor in graph.tensors.items() if tensor.range_name == key} if key else {name}
    return tuple(op for op in graph.ops if not tied.isdisjoint((*op.inputs, *op.outputs)))


def has_int16(op: Op, kernels: Kernels = "reference") -> bool:
    """Whether a kernel set has a kernel of an op for int16 activations."""
    wide = table.OPS[op.kind].wide
    return wide is not None and kernels in wide.kernels


def named_ops(graph: Graph) -> dict[int, str]:
    """Returns by which name `quant.widen` and `quant.keep_float` know each op, by its identity.

    Those that stay float32 already and changes of scale are not among them.
    """
    ops = real_ops(graph).values()
    return {id(op): op.outputs[0] for op in ops if not graph.is_float(op)}


def int16_around(graph: Graph, name: str, kernels: Kernels = "reference") -> tuple[str, ...]:
    """Returns which ops are to have 16 bits so that one reads and makes them: names, in execution order.

    Empty if there is no kernel of that op for int16.

    Args:
      graph: As traced.
      name: Of what the op makes.
      kernels: Whose kernels.
    """
    names = named_ops(graph)
    own = next((op for op in graph.ops if name in op.outputs), None)
    if own is None or id(own) not in names or not has_int16(own, kernels):
        return ()
    ends = (*own.outputs, *(n for n in own.inputs if graph.is_activation(n)))
    around = {id(op) for end in ends for op in ops_around(graph, end) if has_int16(op, kernels)}
    return tuple(names[id(op)] for op in graph.ops if id(op) in around and id(op) in names)
