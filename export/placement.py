"""Whether the first-generation Edge TPU of Coral's boards takes a file: a prediction from its published rules.

Its compiler is closed and ended at version 16. What is known of it: the list of operators with their
limits, that it parses operator versions up to about TensorFlow 2.5, and that it makes one partition: the first
operator that it cannot take, and all behind it, run on the CPU. Sizes from which a resize or a reshape is
left out were never published, so those are answered with "perhaps".
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

from attokit.export.anatomy import Inspection, OperatorInfo, Subgraph
from attokit.export.edge_tpu_rules import problem_of
from attokit.export.problems import Problem

Place = Literal["tpu", "perhaps", "cpu"]
CACHE_BYTES = (
    7_235_174  # 6.9 MiB: the least that compiler logs show of the 8 MiB beside code and scratch
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one operator is expected to run.

    Attributes:
      position: Of the operator in the file.
      kind: The schema's name.
      output: Name of what it makes.
      place: "tpu", "cpu", or "perhaps" where the rule was never published in numbers.
      problem: Why it is not plainly the TPU; None if it is, or if only its place behind another is why.
      parameter_bytes: Of its constants.
    """

    position: int
    kind: str
    output: str
    place: Place
    problem: Problem | None
    parameter_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class EdgeTpuReport:
    """What the Edge TPU's compiler is expected to do with a file.

    Attributes:
      refused: Why it takes nothing of the file, or None.
      placements: Of every operator, in the file's order.
    """

    refused: Problem | None
    placements: tuple[Placement, ...]

    @property
    def fits(self) -> bool:
        """Whether all of the network is expected on the TPU; conversions at its ends may stay outside."""
        return self.refused is None and self.first_cpu is None and bool(self.on_tpu)

    @property
    def first_cpu(self) -> Placement | None:
        """The first operator that leaves the TPU, or None."""
        return next((m for m in self.placements if m.place == "cpu" and not _is_end(m)), None)

    @property
    def on_tpu(self) -> tuple[Placement, ...]:
        """The operators in the TPU's partition."""
        return tuple(m for m in self.placements if m.place != "cpu")

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the parameters of the operators on the TPU."""
        return sum(m.parameter_bytes for m in self.on_tpu)

    @property
    def cached_bytes(self) -> int:
        """Bytes of them that stay on the chip from one run to the next."""
        total = 0
        for placement in self.on_tpu:  # the compiler fills the cache in execution order
            if total + placement.parameter_bytes > CACHE_BYTES:
                break
            total += placement.parameter_bytes
        return total

    @property
    def summary(self) -> str:
        """The verdict, and what to change."""
        return "\n".join(_verdict(self))

    def __str__(self) -> str:
        return "\n".join((*_verdict(self), "", *_table(self)))


def edge_tpu(info: Inspection) -> EdgeTpuReport:
    """Returns what the Edge TPU is expected to do with an inspected file."""
    graph, refused = info.main, _refusal(info)
    placements: list[Placement] = []
    left = refused is not None
    seen: set[int] = set()  # constants that an earlier operator brought
    for position, operator in enumerate(graph.operators):
        problem = problem_of(graph, operator)
        end = _enters(graph, operator) or _leaves(graph, operator)
        place: Place = "tpu"
        if left or end or (problem is not None and not problem.uncertain):
            place = "cpu"
        elif problem is not None:
            place = "perhaps"
        if problem is not None and not problem.uncertain and not end:
            left = True
        own = {i for i in operator.inputs if i >= 0 and graph.tensors[i].is_parameter} - seen
        seen |= own
        placements.append(
            Placement(
                position=position,
                kind=operator.kind,
                output=graph.tensors[operator.outputs[0]].name if operator.outputs else "",
                place=place,
                problem=_AT_THE_END if end else problem,
                parameter_bytes=sum(graph.tensors[i].size for i in own),
            )
        )
    return EdgeTpuReport(refused=refused, placements=tuple(placements))


_AT_THE_END = Problem("converts floats at an end of the model", "--input-type uint8 saves it")


def _is_end(placement: Placement) -> bool:
    return placement.problem is _AT_THE_END


def _enters(graph: Subgraph, operator: OperatorInfo) -> bool:
    """Whether an operator makes integers of a float input."""
    return operator.kind == "QUANTIZE" and any(
        i in graph.inputs and graph.tensors[i].dtype == "float32" for i in operator.inputs
    )


def _leaves(graph: Subgraph, operator: OperatorInfo) -> bool:
    """Whether an operator makes a float output of integers."""
    return operator.kind == "DEQUANTIZE" and any(i in graph.outputs for i in operator.outputs)


def _refusal(info: Inspection) -> Problem | None:
    """Returns why the compiler takes nothing of a file, or None."""
    graph = info.main
    if any(operator.kind == "edgetpu-custom-op" for operator in graph.operators):
        return Problem(
            "it is compiled for the Edge TPU already", "give the file before compilation"
        )
    if len(info.reached) > 1:
        return Problem(
            f"its operators call subgraphs (control flow), {len(info.reached) - 1} of them",
            "unroll loops while tracing",
        )
    if len(info.subgraphs) > 1:
        return Problem(
            f"it has {len(info.subgraphs)} subgraphs of several signatures",
            "write a file with one signature",
        )
    if not any(tensor.dtype in ("int8", "uint8") for tensor in graph.tensors):
        return Problem("nothing in it is quantized to 8 bits", "quantize it: attokit quantize")
    named = [(graph.tensors[i].name, graph.tensors[i]) for i in graph.inputs]
    for name, tensor in named:
        if not tensor.static:
            return Problem(
                f"input {name!r} has a size that is not fixed",
                "fix every size; trace with a batch of 1",
            )
        if len(tensor.shape) >= 4 and math.prod(tensor.shape[:-3]) != 1:
            return Problem(
                f"input {name!r} has a batch of {tensor.shape[0]}", "trace with a batch of 1"
            )
    return None


def _verdict(report: EdgeTpuReport) -> Iterator[str]:
    total, on = len(report.placements), len(report.on_tpu)
    if report.refused is not None:
        yield f"Edge TPU: refused. {report.refused}"
    elif report.fits:
        unsure = sum(m.place == "perhaps" for m in report.placements)
        yield f"Edge TPU: fits, {on} of {total} operators on the TPU" + (
            f", {unsure} of them perhaps" if unsure else ""
        )
    else:
        yield f"Edge TPU: {on} of {total} operators on the TPU, the rest on the CPU"
    first = report.first_cpu
    if first is not None and report.refused is None:
        yield (
            f"first to leave: operator {first.position}, {first.kind} ({first.output!r}): {first.problem}"
        )
    cached, whole = report.cached_bytes, report.parameter_bytes
    yield (
        f"parameters: {whole:,} bytes on the TPU, of which about {cached:,} stay on the chip "
        f"and {whole - cached:,} are sent for every image"
    )
    changes = dict.fromkeys(
        f"{m.kind}: {m.problem}"
        for m in report.placements
        if m.problem is not None and not _is_end(m)
    )
    if changes:
        yield "what to change:"
        yield from (f"  {change}" for change in changes)


def _table(report: EdgeTpuReport) -> Iterator[str]:
    yield f"{'#':>4} {'operator':24} {'output':44} {'runs on':8} {'parameters':>11}  why"
    for m in report.placements:
        why = m.problem.what if m.problem is not None else ""
        if not why and m.place == "cpu":
            why = "behind the first that leaves" if report.refused is None else ""
        yield (
            f"{m.position:4} {m.kind[:24]:24} {m.output[-44:]:44} {m.place:8} "
            f"{m.parameter_bytes:11,}  {why}"
        )
