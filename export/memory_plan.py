"""Where activations of a file lie in memory while it runs, as TFLite Micro's planner places them."""

import dataclasses

from attokit.export.anatomy import Subgraph
from attokit.export.inspection import inspect

_ALIGNED = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """An activation in memory.

    Attributes:
      name: Of the tensor.
      offset: Its first byte.
      size: Bytes.
      first: Position of the operator that makes it; 0 of an input.
      last: Of the last that reads it; the last of all of an output.
    """

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
    first = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.inputs, 0)
    for i, operator in enumerate(graph.operators):
        first |= {index: i for index in operator.outputs if index not in first}
        last |= {index: i for index in operator.present}
    last |= dict.fromkeys(graph.outputs, max(len(graph.operators) - 1, 0))
    lives = [
        (-(-graph.tensors[i].size // _ALIGNED) * _ALIGNED, i)
        for i in reversed(first)
        if not graph.tensors[i].constant
    ]
    placed: list[Block] = []
    for size, index in sorted(lives, key=lambda pair: -pair[0]):
        name = graph.tensors[index].name
        block = Block(name=name, offset=0, size=size, first=first[index], last=last[index])
        offset = 0
        for other in sorted((b for b in placed if b.meets(block)), key=lambda b: b.offset):
            if other.offset - offset >= size:
                break
            offset = max(offset, other.end)
        placed.append(dataclasses.replace(block, offset=offset))
    return tuple(placed)


def planned_size(file: bytes) -> int:
    """Returns the bytes that the activations of a file take as TFLite Micro's planner places them."""
    return max((block.end for block in memory_plan(inspect(file).main)), default=0)
