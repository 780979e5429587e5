"""Splits a graph into groups of rows where its memory peaks, until it fits.

What is counted is what TFLite Micro keeps in its arena: the activations that live at once, and a record of
every op, tensor and channel of a kernel, of which a split graph has more. So there is a best height to cut
the peaks to, and it is looked for.
"""

from collections.abc import Iterator

import numpy as np

from attokit.quant.graph import Graph
from attokit.quant.live_bytes import live_bytes, planned_bytes
from attokit.quant.ops.kind import Op, Operand
from attokit.quant.order import reorder
from attokit.quant.row_windows import ROW
from attokit.quant.split_rows import Region, split_rows

# Of TFLite Micro on 64 bits, measured over files; on 32 bits about two thirds of it.
_BYTES_PER_OP, _BYTES_PER_TENSOR, _BYTES_PER_CHANNEL = 150, 24, 8
_PARTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
_REACH = 10  # ops before and after the peak, among which a region starts and ends
_STEP = 0.9  # from one height that is tried to the next


def fit_memory(graph: Graph, limit: int = 0) -> Graph:
    """Returns a graph with the same integers that needs less memory, if that can be.

    Ops are put in another order where activations then live shorter, and regions around the peaks are split
    into groups of rows (`split_rows`).

    Args:
      graph: As traced; qparams of it fit the result.
      limit: Bytes, as `memory_bytes` counts them, that are good enough; 0 looks for the least.
    """
    ordered = reorder(graph)
    best = ordered
    height = max(live_bytes(ordered), default=0)
    while height and memory_bytes(best) > limit:
        height = int(height * _STEP)  # always lower
        split = _below(ordered, height)
        if split is None:
            break
        best = min(best, split, key=memory_bytes)
    return best


def memory_bytes(graph: Graph) -> int:
    """Returns about how many bytes a graph needs in TFLite Micro in INT8: activations and records."""
    return planned_bytes(graph) + _records(graph)


def _records(graph: Graph) -> int:
    """Returns what the runtime's own tables take."""
    return sum(
        _BYTES_PER_OP
        + _BYTES_PER_TENSOR * len(op.outputs)
        + _BYTES_PER_CHANNEL * _channels(graph, op)
        for op in graph.ops
    )


def _channels(graph: Graph, op: Op) -> int:
    """Returns how many scales an op's kernel has."""
    return sum(
        graph.operand_shape(name)[-1]
        for name, role in zip(op.inputs, graph.operands(op), strict=True)
        if role is Operand.KERNEL
    )


def _below(graph: Graph, height: int) -> Graph | None:
    """Returns a graph whose activations never take more bytes, split as little as that asks for."""
    while max(live := live_bytes(graph), default=0) > height:
        peak = graph.ops[int(np.argmax(live))]
        options = [g for g in _split_around(graph, peak) if _fits(g, graph, height)]
        if not options:
            return None
        graph = min(options, key=_records)
    return graph


def _fits(graph: Graph, before: Graph, height: int) -> bool:
    """Whether the ops that a graph has and another had not stay below a height."""
    known = set(before.ops)
    return all(
        bytes_ <= height
        for op, bytes_ in zip(graph.ops, live_bytes(graph), strict=True)
        if op not in known
    )


def _split_around(graph: Graph, peak: Op) -> Iterator[Graph]:
    """Yields the graph with regions around an op split into groups of rows."""
    place = graph.ops.index(peak)
    before = graph.ops[max(place - _REACH, 0) : place + 1]
    starts = dict.fromkeys(n for op in before for n in op.inputs if graph.is_activation(n))
    ends = dict.fromkeys(n for op in graph.ops[place : place + _REACH] for n in op.outputs)
    for start in starts:
        for end in ends:
            try:
                region = Region.between(graph, start, end)
            except ValueError:
                continue
            if peak in region.ops:
                for parts in _PARTS:
                    if parts <= graph.tensors[end].shape[ROW]:
                        yield split_rows(graph, start, end, parts)
