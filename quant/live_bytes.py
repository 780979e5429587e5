"""How many bytes of activations a graph holds at once, in an INT8 file."""

import numpy as np

from attokit.quant.graph import Graph

_ALIGNED = 16


def live_bytes(graph: Graph) -> list[int]:
    """Returns, for each op, the bytes of the activations that exist while it runs.

    An activation lives from the op that makes it (inputs: from the start) to the last that reads it
    (outputs: to the end).
    """
    sizes = {name: bytes_of(graph, name) for name in graph.tensors}
    dies = {name: i for i, op in enumerate(graph.ops) for name in (*op.inputs, *op.outputs)}
    dies |= dict.fromkeys(graph.outputs, len(graph.ops))
    alive = sum(sizes[name] for name in graph.inputs)
    result = []
    for i, op in enumerate(graph.ops):
        alive += sum(sizes[name] for name in op.outputs)
        result.append(alive)
        ended = {n for n in (*op.inputs, *op.outputs) if dies[n] == i and n in sizes}
        alive -= sum(sizes[name] for name in ended)
    return result


def bytes_of(graph: Graph, name: str) -> int:
    """Returns the bytes of an activation."""
    tensor = graph.tensors[name]
    return int(np.prod(tensor.shape)) * np.dtype(tensor.integer_type).itemsize


def planned_bytes(graph: Graph) -> int:
    """Returns the bytes that activations take in TFLite Micro's arena, gaps between them included.

    Its planner places the largest first, each in the first gap that is free while it lives.
    """
    born = dict.fromkeys(graph.inputs, 0)
    born |= {name: i for i, op in enumerate(graph.ops, start=1) for name in op.outputs}
    dies = dict(born)
    for i, op in enumerate(graph.ops, start=1):
        dies |= {name: i for name in op.inputs if name in born}
    dies |= dict.fromkeys(graph.outputs, len(graph.ops))
    sizes = {name: -(-bytes_of(graph, name) // _ALIGNED) * _ALIGNED for name in born}
    placed: list[tuple[int, int, str]] = []  # offset, end, name
    for name in sorted(reversed(born), key=lambda n: -sizes[n]):  # of equal ones the last first
        offset = 0
        for start, end, other in sorted(placed):
            if dies[other] < born[name] or dies[name] < born[other]:
                continue
            if start - offset >= sizes[name]:
                break
            offset = max(offset, end)
        placed.append((offset, offset + sizes[name], name))
    return max((end for _, end, _ in placed), default=0)
