"""What tracing made of a function: ops and their lines, what was rewritten, tabled, tied."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping

from attokit.quant.graph import Graph
from attokit.quant.ops import table

_LINES = 3  # of the user's that a row names
_NAMES = 4  # of tensors or constants


def report(graph: Graph) -> "Report":
    """Returns what was recognized, folded, fused, tabled and tied; print it."""
    ops = collections.defaultdict(list)
    for op in graph.ops:
        ops[op.kind if op.activation == "none" else f"{op.kind}+{op.activation}"].append(op.source)
    rewritten = collections.defaultdict(list)
    for note in graph.notes:
        rewritten[note.what].append(note.source)
    tied = collections.defaultdict(list)
    for name, tensor in graph.tensors.items():
        if tensor.quantized:
            tied[tensor.range_name].append(name)
    return Report(
        ops=_frozen(ops),
        rewritten=_frozen(rewritten),
        tables={
            op.outputs[0]: op.attributes.get("name", op.kind)
            for op in graph.ops
            if table.OPS[op.kind].function is not None
        },
        tied={key: tuple(names) for key, names in tied.items() if len(names) > 1},
        prescribed=dict(graph.fixed_ranges),
        constants={name: array.shape for name, array in graph.constants.items()},
        weights=dict(graph.weight_shapes),
        float_ops={name: op.kind for op in graph.float_ops for name in op.outputs},
        macs=graph.macs(),
    )


def _frozen(rows: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values) for key, values in rows.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a function.  `str` of it is a table.

    Attributes:
      ops: The lines that asked for the ops of each kind ("conv_2d+relu"), one per op.
      rewritten: What passes did, with the line of each time.
      tables: Functions of one variable that INT8 looks up, by tensor.
      tied: Tensors that share a range, by range.
      prescribed: (scale, zero point) of the ranges that the spec fixes.
      constants: Shapes of what depends on no variable.
      weights: Shapes of what can be trained.
      float_ops: Kinds of the ops that INT8 computes on float32 (`quant.keep_float`), by tensor.
      macs: Multiply-adds of one call.
    """

    ops: Mapping[str, tuple[str, ...]]
    rewritten: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, str]
    tied: Mapping[str, tuple[str, ...]]
    prescribed: Mapping[str, tuple[float, int]]
    constants: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, tuple[int, ...]]
    float_ops: Mapping[str, str]
    macs: int

    def __str__(self) -> str:
        """Returns the report as text."""
        count = sum(map(len, self.ops.values()))
        lines = [f"{count} ops, {len(self.weights)} weights, {self.macs:,} multiply-adds"]
        lines += _section("ops", (_counted(k, v) for k, v in _by_count(self.ops)))
        lines += _section("rewritten", (_counted(k, v) for k, v in _by_count(self.rewritten)))
        lines += _section("float32", (f"{name}: {kind}" for name, kind in self.float_ops.items()))
        lines += _section("tables", (f"{name}: {f}" for name, f in self.tables.items()))
        lines += _section(
            "one scale", (f"{key}: {_some(v, _NAMES)}" for key, v in self.tied.items())
        )
        lines += _section(
            "prescribed scales",
            (f"{key}: {s:g}, zero point {z}" for key, (s, z) in self.prescribed.items()),
        )
        lines += _section("constants", (f"{k}: {list(v)}" for k, v in self.constants.items()))
        return "\n".join(lines)


def _section(title: str, rows: Iterable[str]) -> list[str]:
    rows = list(rows)
    return [f"{title}:", *(f"  {row}" for row in rows)] if rows else []


def _by_count(rows: Mapping[str, tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    return sorted(rows.items(), key=lambda row: -len(row[1]))


def _counted(what: str, sources: tuple[str, ...]) -> str:
    """Returns "3 x what  (net.py:12 (f), net.py:14 (f))"."""
    places = tuple(dict.fromkeys(os.path.basename(source) for source in sources if source))
    return f"{len(sources)} x {what}" + (f"  [{_some(places, _LINES)}]" if places else "")


def _some(names: tuple[str, ...], limit: int) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
