"""Computes a part of a graph some rows at a time, so that its large maps are never whole in memory.

Between two maps, `start` and `end`, every op is written once per group of rows of `end`: it makes just the
rows that this group needs, from the rows that those need.  Rows that two groups need are computed twice
(the halo of a 3x3 convolution).  No integer changes: each is computed from the same integers by the same
op with the same scales, so `qparams` of the graph fit the result, and a file of the result gives what a file
of the graph gives.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from attokit.quant.graph import Graph, Note, Tensor
from attokit.quant.ops.kind import Op
from attokit.quant.row_windows import CONVOLUTIONS, ROW, SLICES, Reads, Rows, Window, window

_MOST_JOINED = 10


def split_rows(graph: Graph, start: str, end: str, parts: int) -> Graph:
    """Returns a graph that computes the ops between two maps in several groups of rows.

    Args:
      graph: As traced; qparams of it fit the result.
      start: Name of the map that the ops read, a graph input or an op's output.
      end: Name of the map that they make.  Its rows are divided as evenly as they can be.
      parts: Into how many groups.

    Raises:
      ValueError: if there are no ops between the two, or one of them needs other maps, or a whole column,
        or what it makes is used elsewhere too; or there are more parts than rows.
    """
    region = Region.between(graph, start, end)
    height = graph.tensors[end].shape[ROW]
    if not 2 <= parts <= height:
        raise ValueError(f"parts={parts}: {end!r} has {height} rows; give a number from 2 to that")
    edges = [height * i // parts for i in range(parts + 1)]
    groups = [Rows(*pair) for pair in itertools.pairwise(edges)]
    ops: list[Op] = []
    made: list[Tensor] = []
    ranges: dict[tuple[str, int], str] = {}
    names = []
    for number, rows in enumerate(groups):
        part = Part(region, rows, lambda name, n=number: f"{name}/rows_{n}")  # type: ignore[misc]
        names.append(part.result)
        ops += part.ops
        made += part.tensors
        ranges |= part.constant_ranges
    joining, joined = _joined(graph.tensors[end], list(zip(names, groups, strict=True)))
    ops += joining
    made += joined
    first = next(i for i, op in enumerate(graph.ops) if op in region.ops)
    kept = [op for op in graph.ops if op not in region.ops]
    before = sum(op not in region.ops for op in graph.ops[:first])
    inner = {name for op in region.ops for name in op.outputs} - {end}
    return dataclasses.replace(
        graph,
        ops=(*kept[:before], *ops, *kept[before:]),
        tensors={n: t for n, t in graph.tensors.items() if n not in inner}
        | {tensor.name: tensor for tensor in made},
        constant_ranges={**graph.constant_ranges, **ranges},
        notes=(*graph.notes, Note(f"{start} to {end} in {parts} groups of rows", "")),
    )


def _joined(whole: Tensor, parts: list[tuple[str, Rows]]) -> tuple[list[Op], list[Tensor]]:
    """Returns the ops that put groups of rows together, and what they make beside the whole.

    TFLite Micro joins ten tensors at most, so more are joined ten by ten first.
    """
    ops: list[Op] = []
    made: list[Tensor] = []

    def join(names: list[str], output: str) -> None:
        attributes = {"axis": ROW}
        ops.append(
            Op(kind="concatenation", inputs=tuple(names), outputs=(output,), attributes=attributes)
        )

    while len(parts) > _MOST_JOINED:
        pieces = [parts[i : i + _MOST_JOINED] for i in range(0, len(parts), _MOST_JOINED)]
        parts = []
        for piece in pieces:
            rows = Rows(piece[0][1].first, piece[-1][1].end)
            shape = list(whole.shape)
            shape[ROW] = rows.end - rows.first
            name = f"{whole.name}/joined_{rows.first}_{rows.end}"
            made.append(dataclasses.replace(whole, name=name, shape=tuple(shape)))
            join([n for n, _ in piece], name)
            parts.append((name, rows))
    join([name for name, _ in parts], whole.name)
    return ops, made


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """The ops between two maps.

    Attributes:
      graph: Theirs.
      start: What they read.
      end: What they make.
      ops: In execution order.
      windows: Of each.
    """

    graph: Graph
    start: str
    end: str
    ops: tuple[Op, ...]
    windows: tuple[Window, ...]

    @classmethod
    def between(cls, graph: Graph, start: str, end: str) -> "Region":
        """Returns the ops between two maps; raises ValueError if they do not split into rows."""
        for name in (start, end):
            if name not in graph.tensors or len(graph.tensors[name].shape) != 4:
                maps = [n for n, t in graph.tensors.items() if len(t.shape) == 4]
                raise ValueError(
                    f"{name!r} is no map of the graph; its maps [b, h, w, c] are: {', '.join(maps)}"
                )
        ops = _between(graph, start, end)
        if not ops:
            raise ValueError(f"no op leads from {start!r} to {end!r}: give an earlier start")
        windows = [window(graph, op) for op in ops]
        for op, own in zip(ops, windows, strict=True):
            if own is None:
                raise ValueError(
                    f"{op.kind} that makes {op.outputs[0]!r} cannot be computed some rows at a time: "
                    "choose a start after it or an end before it"
                )
        _check_closed(graph, start, end, ops)
        return cls(graph, start, end, ops, tuple(w for w in windows if w is not None))

    def needs(self, rows: Rows, *, padded: bool = False) -> dict[str, Rows]:
        """Returns the rows of every map of the region that some rows of its end need.

        Args:
          rows: Of the end.
          padded: Counts padding as rows of the maps, before the first and after the last.
        """
        needs = {self.end: rows}
        for op, own in zip(reversed(self.ops), reversed(self.windows), strict=True):
            for name in self.maps(op):
                read = own.reads(needs[op.outputs[0]], None if padded else self.height(name)).rows
                needs[name] = needs[name] | read if name in needs else read
        return needs

    def maps(self, op: Op) -> list[str]:
        """Returns the maps that an op reads."""
        return [name for name in op.inputs if self.graph.is_activation(name)]

    def height(self, name: str) -> int:
        """Returns the rows of a map."""
        return self.graph.tensors[name].shape[ROW]


def _between(graph: Graph, start: str, end: str) -> tuple[Op, ...]:
    """Returns the ops on the ways from one tensor to another."""
    reached = {start}
    forth = []
    for op in graph.ops:
        if reached & set(op.inputs):
            reached |= set(op.outputs)
            forth.append(op)
    wanted, back = {end}, []
    for op in reversed(forth):
        if wanted & set(op.outputs):
            wanted |= set(op.inputs)
            back.append(op)
    return tuple(reversed(back)) if start in wanted else ()


def _check_closed(graph: Graph, start: str, end: str, ops: Sequence[Op]) -> None:
    """Raises ValueError if other maps enter the region, or leave it."""
    made = {name for op in ops for name in op.outputs}
    for op in ops:
        for name in op.inputs:
            if graph.is_activation(name) and name not in made | {start}:
                raise ValueError(
                    f"{op.kind} that makes {op.outputs[0]!r} reads {name!r}, which does not come from "
                    f"{start!r} by maps alone: choose a later start"
                )
    inner = made - {end}
    leaving = inner & {
        *graph.outputs, *(n for op in graph.ops if op not in ops for n in op.inputs)
    }  # fmt: skip
    if leaving:
        raise ValueError(
            f"{min(leaving)!r} is used outside of what lies between {start!r} and {end!r}: choose it as "
            "the end"
        )


class Part:
    """The ops that make some rows of a region's end.

    Attributes:
      ops: In execution order.
      tensors: That they make.
      constant_ranges: As a graph has them.
      known: By name: these, and what they read.
      result: Name of what they make.
      needed: Rows of the start that they read.
    """

    def __init__(
        self, region: Region, rows: Rows, rename: Callable[[str], str], start: str | None = None
    ):
        """Writes the ops.

        Args:
          region: Of which.
          rows: Of its end.
          rename: What is made for this part is called so.
          start: Name of a map of just the rows that are read, with rows for what is padding above and
            below; None: they are cut out of the region's start.
        """
        self._region, self._rename = region, rename
        self._padded_rows = start is not None
        self._needs = region.needs(rows, padded=self._padded_rows)
        self.needed = self._needs[region.start]
        self.ops: list[Op] = []
        self.tensors: list[Tensor] = []
        self.constant_ranges: dict[tuple[str, int], str] = {}
        self._held: dict[str, tuple[str, Rows]] = {}  # what there is of a map, and its rows
        self._cut: dict[tuple[str, Rows], str] = {}
        whole = region.graph.tensors[region.start]
        self.known = {region.start: whole}
        if start is None:
            self._held[region.start] = (region.start, Rows(0, region.height(region.start)))
        else:
            shape = list(whole.shape)
            shape[ROW] = self.needed.end - self.needed.first
            self.known[start] = dataclasses.replace(whole, name=start, shape=tuple(shape))
            self._held[region.start] = (start, self.needed)
        for op, own in zip(region.ops, region.windows, strict=True):
            self._write(op, own)
        self.result = self._held[region.end][0]

    def _write(self, op: Op, own: Window) -> None:
        """Writes one op."""
        (output,) = op.outputs
        rows = self._needs[output]
        reads = {
            name: own.reads(rows, None if self._padded_rows else self._region.height(name))
            for name in self._region.maps(op)
        }
        name = self._rename(output)
        if op.kind in SLICES:
            self._write_slice(op, own, reads[op.inputs[0]], name)
        else:
            inputs = [self._rows(n, reads[n].rows) if n in reads else n for n in op.inputs]
            change: dict = {}
            if op.kind == "pad":
                change = self._widths(op, reads[op.inputs[0]])
            elif op.kind in CONVOLUTIONS and op["padding"] == "SAME":
                inputs[0] = self._with_padding(inputs[0], own, reads[op.inputs[0]], name)
                change = {"padding": "VALID"}
            elif "padding" in op.attributes:
                change = {"padding": "VALID"}  # pools, which pad nothing
            if op.kind == "pad" and not any(map(any, change["widths"])):
                name = inputs[0]
            else:
                self._emit(op, inputs, name, change)
        self._held[output] = (name, rows)

    def _widths(self, op: Op, reads: Reads) -> dict:
        batch, _, columns, channels = op["widths"]
        return {"widths": (batch, (reads.above, reads.below), columns, channels)}

    def _with_padding(self, images: str, own: Window, reads: Reads, name: str) -> str:
        """Returns rows with the padding that SAME gave them, as an op of its own."""
        widths = ((0, 0), (reads.above, reads.below), own.columns, (0, 0))
        if not any(map(any, widths)):
            return images
        like = self.known[images]
        shape = tuple(n + sum(w) for n, w in zip(like.shape, widths, strict=True))
        padded = dataclasses.replace(like, name=f"{name}/padded", shape=shape)
        self._add(padded)
        self.ops.append(
            Op(kind="pad", inputs=(images,), outputs=(padded.name,), attributes={"widths": widths})
        )
        return padded.name

    def _write_slice(self, op: Op, own: Window, reads: Reads, name: str) -> None:
        """Writes a slice of what there is of the map."""
        held, there = self._held[op.inputs[0]]
        first, end = (row - there.first for row in reads.rows)
        rank = range(4)
        source = self._region.graph.tensors[op.inputs[0]].shape
        if op.kind == "slice":
            sizes = [
                n - b if s == -1 else s
                for n, b, s in zip(source, op["begin"], op["size"], strict=True)
            ]
            ends = [op["begin"][i] + sizes[i] for i in rank]
            strides = [1] * 4
        else:
            ends, strides = list(op["end"]), list(op["strides"])
        begin = [first if i == ROW else op["begin"][i] for i in rank]
        ends[ROW] = end
        change = _slicing(begin, ends, strides)
        self._emit(
            dataclasses.replace(op, kind="strided_slice", attributes={}), [held], name, change
        )

    def _rows(self, name: str, rows: Rows) -> str:
        """Returns the name of just these rows of a map, cut out if there are more."""
        held, there = self._held[name]
        if rows == there:
            return held
        key = (name, rows)
        if key not in self._cut:
            first, end = (row - there.first for row in rows)
            like = self.known[held]
            begin, ends = [0] * 4, list(like.shape)
            begin[ROW], ends[ROW] = first, end
            cut = f"{self._rename(name)}/{rows.first}_{rows.end}"
            shape = tuple(e - b for b, e in zip(begin, ends, strict=True))
            self._add(dataclasses.replace(like, name=cut, shape=shape))
            attributes = _slicing(begin, ends, [1] * 4)
            self.ops.append(
                Op(kind="strided_slice", inputs=(held,), outputs=(cut,), attributes=attributes)
            )
            self._cut[key] = cut
        return self._cut[key]

    def _emit(self, op: Op, inputs: list[str], name: str, change: dict) -> None:
        (output,) = op.outputs
        graph = self._region.graph
        rows, shape = self._needs[output], list(graph.tensors[output].shape)
        shape[ROW] = rows.end - rows.first
        self._add(dataclasses.replace(graph.tensors[output], name=name, shape=tuple(shape)))
        for position in range(len(inputs)):
            if (output, position) in graph.constant_ranges:
                self.constant_ranges[name, position] = graph.constant_ranges[output, position]
        self.ops.append(
            dataclasses.replace(
                op,
                inputs=tuple(inputs),
                outputs=(name,),
                attributes={**op.attributes, **change},
            )
        )

    def _add(self, tensor: Tensor) -> None:
        self.tensors.append(tensor)
        self.known[tensor.name] = tensor


def _slicing(begin: Sequence[int], end: Sequence[int], strides: Sequence[int]) -> dict:
    return {
        "begin": tuple(begin), "end": tuple(end), "strides": tuple(strides), "keeps_batch": True
    }  # fmt: skip
