"""Where activations of a file lie in memory while it runs: as TFLite Micro's planner places them, or denser.

Its planner places the largest first and leaves gaps. A file may say itself where its activations lie
(`plan_metadata`), and TFLite Micro follows.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np

from attokit.export.anatomy import Inspection, Subgraph
from attokit.export.inspection import inspect

PLAN_METADATA = "OfflineMemoryAllocation"  # the name of the entry that TFLite Micro looks for
_ALIGNED = 16
_PLAN_HEAD = 3  # numbers before the offsets: version, subgraph, how many
_TRIES = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """An activation in memory.

    Attributes:
      index: Of the tensor in the file.
      name: Of the tensor.
      offset: Its first byte.
      size: Bytes.
      first: Position of the operator that makes it; 0 of an input.
      last: Of the last that reads it; the last of all of an output.
    """

    index: int
    name: str
    offset: int
    size: int
    first: int
    last: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size

    def meets(self, other: "Block") -> bool:
        """Whether both live at once."""
        return self.first <= other.last and other.first <= self.last


def memory_plan(graph: Subgraph) -> tuple[Block, ...]:
    """Returns a block for each activation: the largest are placed first, each in the first gap that fits."""
    return _placed(sorted(_lives(graph), key=lambda block: -block.size), {})


def dense_plan(graph: Subgraph, inputs_from: int = 0) -> tuple[Block, ...]:
    """Returns a block for each activation, with fewer gaps between them than `memory_plan` leaves.

    The best of some orders in which blocks are placed: what ends highest goes first in the next.

    Args:
      graph: Of the file.
      inputs_from: Where the inputs may start, in bytes. Below is then room for a network that runs before
        this one in the same memory, while its results are put into the inputs of this one.
    """
    least = {index: -(-inputs_from // _ALIGNED) * _ALIGNED for index in graph.inputs}
    order = sorted(_lives(graph), key=lambda block: -block.size)
    best = _placed(order, least)
    steps = range(max(len(graph.operators), 1))
    bound = max(sum(b.size for b in order if b.first <= i <= b.last) for i in steps)
    for _ in range(_TRIES):
        found = _placed(order, least)
        best = min(best, found, key=peak_of)
        if peak_of(best) <= bound:
            break
        highest = max(found, key=lambda block: block.end).index
        order.sort(key=lambda block: block.index != highest)
    return best


def peak_of(blocks: Sequence[Block]) -> int:
    """Returns the bytes that blocks take together."""
    return max((block.end for block in blocks), default=0)


def plan_metadata(graph: Subgraph, blocks: Sequence[Block]) -> bytes:
    """Returns a plan as TFLite Micro reads it in a file's metadata (`PLAN_METADATA`)."""
    offsets = np.full(len(graph.tensors), -1, np.int32)
    for block in blocks:
        offsets[block.index] = block.offset
    version, subgraph = 0, 0
    return np.asarray([version, subgraph, len(offsets), *offsets], "<i4").tobytes()


def stored_plan(file: Inspection) -> tuple[Block, ...]:
    """Returns a block for each activation where the file says that it lies; `memory_plan` if it does not."""
    blocks, stored = _lives(file.main), file.metadata.get(PLAN_METADATA, b"")
    if len(stored) == len(plan_metadata(file.main, ())):
        offsets = np.frombuffer(stored, "<i4")[_PLAN_HEAD:]
        if all(offsets[block.index] >= 0 for block in blocks):
            return tuple(
                dataclasses.replace(block, offset=int(offsets[block.index])) for block in blocks
            )
    return memory_plan(file.main)


def planned_size(file: bytes) -> int:
    """Returns the bytes that the activations of a file take, where it says or TFLite Micro's planner places them."""
    return peak_of(stored_plan(inspect(file)))


def _lives(graph: Subgraph) -> list[Block]:
    """Returns a block at 0 for each activation, those that are made last first."""
    first = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.inputs, 0)
    for i, operator in enumerate(graph.operators):
        first |= {index: i for index in operator.outputs if index not in first}
        last |= {index: i for index in operator.present}
    last |= dict.fromkeys(graph.outputs, max(len(graph.operators) - 1, 0))
    return [
        Block(
            index=index,
            name=graph.tensors[index].name,
            offset=0,
            size=-(-graph.tensors[index].size // _ALIGNED) * _ALIGNED,
            first=first[index],
            last=last[index],
        )
        for index in reversed(first)
        if not graph.tensors[index].constant
    ]


def _placed(order: Sequence[Block], least: dict[int, int]) -> tuple[Block, ...]:
    """Returns blocks at the lowest places that are free when their turn comes, from a least offset on."""
    placed: list[Block] = []
    for block in order:
        offset = least.get(block.index, 0)
        for other in placed:  # by offset
            if not other.meets(block):
                continue
            if other.offset - offset >= block.size:
                break
            offset = max(offset, other.end)
        bisect.insort(placed, dataclasses.replace(block, offset=offset), key=lambda b: b.offset)
    return tuple(placed)
