"""The order of execution in which the fewest bytes of activations live at once.

A state is the set of ops that ran; sets that many orders lead to are one state.  The search goes to the end
first, by the ops that raise the peak least, and then looks for what is lower still: where it runs dry, what it
has is the least of all orders.  An op after which no more is alive than before runs at once: no order is the
worse for it, since later it would free no less.
"""

import dataclasses
import heapq

from attokit.quant.graph import Graph
from attokit.quant.live_bytes import bytes_of, live_bytes

_STATES = 4_000  # that are looked at, for a second or two


def least_peak(graph: Graph) -> Graph | None:
    """Returns the graph in the order with the least peak of live bytes; None if no other has a lower one.

    In graphs of many parallel branches, which have more states than are looked at, it is the best of those seen.
    """
    peak = max(live_bytes(graph), default=0)
    if peak <= least_possible(graph):
        return None
    order = _Search(graph, peak).order()
    if order is None:
        return None
    return dataclasses.replace(graph, ops=tuple(graph.ops[i] for i in order))


def least_possible(graph: Graph) -> int:
    """Returns what no order can be below: the most that one op reads and makes."""
    return max(
        (
            sum(bytes_of(graph, n) for n in {*op.inputs, *op.outputs} if graph.is_activation(n))
            for op in graph.ops
        ),
        default=0,
    )


class _Search:
    """A graph as sets of positions, each an integer whose bits are set."""

    def __init__(self, graph: Graph, bound: int):
        """Prepares the search for an order with a peak below `bound`."""
        self._bound, self._count = bound, len(graph.ops)
        self._least = least_possible(graph)
        made_at = {n: i for i, op in enumerate(graph.ops) for n in op.outputs}
        self._needs = [
            sum(1 << i for i in {made_at[n] for n in op.inputs if n in made_at}) for op in graph.ops
        ]
        readers: dict[str, int] = dict.fromkeys(graph.tensors, 0)
        for i, op in enumerate(graph.ops):
            for name in op.inputs:
                if name in readers:
                    readers[name] |= 1 << i
        leaving = set(graph.outputs)
        sizes = {name: bytes_of(graph, name) for name in graph.tensors}
        self._makes = [sum(sizes[n] for n in op.outputs) for op in graph.ops]
        # What may end with an op: what it reads, and what it makes that nobody reads.
        self._ends = [
            [
                (sizes[n], readers[n])
                for n in {*op.inputs, *op.outputs}
                if n in readers and n not in leaving
            ]
            for op in graph.ops
        ]
        self._start = sum(sizes[name] for name in graph.inputs)

    def order(self) -> list[int] | None:
        """Returns positions in the order of the least peak, or None if none is below the bound."""
        whole, best = (1 << self._count) - 1, None
        state, alive, ran = self._free(0, self._start, self._least)
        queue = [(-len(ran), self._least, state, alive, 0, ran)]
        peaks: dict[int, int] = {}
        came: dict[int, tuple[int, tuple[int, ...]]] = {}
        for _ in range(_STATES):
            if not queue or self._bound <= self._least:
                break
            _, peak, state, alive, before, ran = heapq.heappop(queue)
            if peak >= min(self._bound, peaks.get(state, self._bound)):
                continue
            peaks[state], came[state] = peak, (before, ran)
            if state == whole:
                self._bound, best = peak, self._path(came)
                continue
            for i in self._ready(state):
                higher = max(peak, alive + self._makes[i])
                after, left = state | 1 << i, alive + self._change(state, i)
                after, left, more = self._free(after, left, higher)
                if higher < min(self._bound, peaks.get(after, self._bound)):
                    heapq.heappush(
                        queue, (-after.bit_count(), higher, after, left, state, (i, *more))
                    )
        return best

    def _free(self, state: int, alive: int, peak: int) -> tuple[int, int, tuple[int, ...]]:
        """Runs what leaves no more alive than before and stays below a peak."""
        ran: list[int] = []
        while True:
            for i in self._ready(state):
                change = self._change(state, i)
                if change <= 0 and alive + self._makes[i] <= peak:
                    state, alive = state | 1 << i, alive + change
                    ran.append(i)
                    break
            else:
                return state, alive, tuple(ran)

    def _ready(self, state: int) -> list[int]:
        """Returns the ops that can run: they did not, and all that they need did."""
        return [
            i
            for i, needs in enumerate(self._needs)
            if not state >> i & 1 and needs & state == needs
        ]

    def _change(self, state: int, i: int) -> int:
        """Returns how many bytes more are alive behind an op."""
        after = state | 1 << i
        ended = sum(size for size, readers in self._ends[i] if readers & after == readers)
        return self._makes[i] - ended

    def _path(self, came: dict[int, tuple[int, tuple[int, ...]]]) -> list[int]:
        order: list[int] = []
        state = (1 << self._count) - 1
        while state:
            state, ran = came[state]
            order = [*ran, *order]
        return order
