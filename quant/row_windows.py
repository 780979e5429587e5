"""Which rows of its inputs an op needs for some rows of its output.

A map is [b, h, w, c].  Of every op that can be computed a few rows at a time, a window says all: output row
i reads the input rows from i * stride - before on, `span` of them; those outside the map are padding.
"""

import dataclasses
from typing import NamedTuple

from attokit.quant.graph import Graph
from attokit.quant.lowering.contraction import same_padding
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Operand

ROW = 1  # the axis
_LAST_AXIS = frozenset({"fully_connected", "l2_normalization", "log_softmax", "softmax"})
_REDUCTIONS = frozenset({"mean", "reduce_all", "reduce_max", "reduce_min"})
CONVOLUTIONS = frozenset({"conv_2d", "depthwise_conv_2d"})
_POOLS = frozenset({"average_pool_2d", "max_pool_2d"})
SLICES = frozenset({"slice", "strided_slice"})


class Rows(NamedTuple):
    """Rows from `first` to before `end`."""

    first: int
    end: int

    def __or__(self, other: "Rows") -> "Rows":  # type: ignore[override]
        """Returns the rows that hold both."""
        return Rows(min(self.first, other.first), max(self.end, other.end))


class Reads(NamedTuple):
    """What some rows of an output need of an input.

    Attributes:
      rows: Inside the map.
      above: How many more, of padding, before them.
      below: And after them.
    """

    rows: Rows
    above: int
    below: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """The rows that one row of output reads.

    Attributes:
      stride: Rows of input per row of output.
      before: How many rows of input come before i * stride.
      span: How many there are.
      columns: Padding of the columns, before and after.
    """

    stride: int = 1
    before: int = 0
    span: int = 1
    columns: tuple[int, int] = (0, 0)

    def reads(self, rows: Rows, height: int | None) -> Reads:
        """Returns what rows of the output need of an input with so many rows (None: without end)."""
        first = rows.first * self.stride - self.before
        end = (rows.end - 1) * self.stride - self.before + self.span
        if height is None:
            return Reads(Rows(first, end), 0, 0)
        inside = Rows(min(max(first, 0), height), max(min(end, height), 0))
        return Reads(inside, inside.first - first, end - inside.end)


def window(graph: Graph, op: Op) -> Window | None:
    """Returns the window of an op, or None if it cannot be computed some rows at a time."""
    shapes = [graph.operand_shape(name) for name in (*op.inputs, *op.outputs)]
    activations = [n for n in (*op.inputs, *op.outputs) if graph.is_activation(n)]
    if len(op.outputs) != 1 or any(len(graph.operand_shape(n)) != 4 for n in activations):
        return None
    images, result = shapes[0], shapes[-1]
    if op.kind in CONVOLUTIONS:
        size, dilation = graph.operand_shape(op.inputs[1])[:2], op["dilation"]
        spans = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
        return _sliding(op, images, spans)
    if op.kind in _POOLS:
        return None if _is_padded(op, images) else _sliding(op, images, op["window"])
    if op.kind == "pad":
        batch, (above, _), _, channels = op["widths"]
        return Window(before=above) if not any((*batch, *channels)) else None
    if op.kind == "strided_slice":
        return Window(stride=op["strides"][ROW], before=-op["begin"][ROW])
    if op.kind == "slice":
        return Window(before=-op["begin"][ROW])
    if op.kind == "concatenation":
        return Window() if op["axis"] != ROW and _all_maps(graph, op) else None
    if op.kind in _REDUCTIONS:
        return Window() if ROW not in op["axes"] and 0 not in op["axes"] else None
    if op.kind in _LAST_AXIS:
        return Window()
    if table.OPS[op.kind].elementwise and _same_rows(graph, op, result[ROW]):
        return Window()
    return None


def _sliding(op: Op, images: tuple[int, ...], spans: list[int]) -> Window:
    """Returns the window of an op that slides one over rows and columns."""
    if op["padding"] != "SAME":
        return Window(stride=op["strides"][0], span=spans[0])
    rows, columns = same_padding(images[1:3], spans, op["strides"])
    return Window(stride=op["strides"][0], before=rows[0], span=spans[0], columns=columns)


def _is_padded(op: Op, images: tuple[int, ...]) -> bool:
    """Whether windows of a pool reach out of the map on any side."""
    if op["padding"] != "SAME":
        return False
    return any(map(any, same_padding(images[1:3], op["window"], op["strides"])))


def _all_maps(graph: Graph, op: Op) -> bool:
    return all(graph.is_activation(name) for name in op.inputs)


def _same_rows(graph: Graph, op: Op, height: int) -> bool:
    """Whether row i depends on row i alone; a constant must be the same for all rows."""
    for name, role in zip(op.inputs, graph.operands(op), strict=True):
        shape = graph.operand_shape(name)
        rows = shape[-3] if len(shape) >= 3 else 1
        if role is Operand.ACTIVATION or graph.is_activation(name):
            if rows != height:
                return False
        elif rows != 1:
            return False
    return True
