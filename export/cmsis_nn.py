"""What TFLite Micro's kernels for Cortex-M, Arm's CMSIS-NN, do with a file: by its sources, tried on no board.

`cmsis_nn_rules` says which sources in which revision.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator
from typing import get_args

from attokit.export.anatomy import Inspection
from attokit.export.cmsis_nn_convolutions import Core, Kernel
from attokit.export.cmsis_nn_rules import kernel_of

_CORES = {
    "dsp": "with the DSP extension (M4, M7, M33)",
    "helium": "with Helium (M52, M55, M85)",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelUse:
    """An operator and what runs it.

    Attributes:
      position: Of the operator in the file.
      kind: The schema's name.
      output: Name of what it makes.
      macs: Multiply-adds.
      values: How many it makes.
      live: Bytes of the activations that exist while it runs, without scratch.
      kernel: What runs it.
    """

    position: int
    kind: str
    output: str
    macs: int
    values: int
    live: int
    kernel: Kernel


@dataclasses.dataclass(frozen=True, kw_only=True)
class CortexMReport:
    """What CMSIS-NN is expected to do with a file.

    Attributes:
      core: For which kind of core.
      uses: Of every operator, in the file's order.
    """

    core: Core
    uses: tuple[KernelUse, ...]

    @property
    def fast(self) -> tuple[KernelUse, ...]:
        """The operators that fast kernels run."""
        return tuple(use for use in self.uses if use.kernel.speed == "fast")

    @property
    def macs(self) -> int:
        """Multiply-adds of all operators."""
        return sum(use.macs for use in self.uses)

    @property
    def fast_macs(self) -> int:
        """Those of fast kernels."""
        return sum(use.macs for use in self.fast)

    @property
    def plain(self) -> tuple[KernelUse, ...]:
        """The operators that compute in plain C++: TFLite Micro's own kernels, without what only copies bytes."""
        return tuple(
            use
            for use in self.uses
            if use.kernel.speed == "reference" and use.kernel.problem is not None
        )

    @property
    def most_scratch(self) -> KernelUse | None:
        """The operator that asks for the most scratch, or None if none asks for any."""
        asking = [use for use in self.uses if use.kernel.scratch]
        return max(asking, key=lambda use: use.kernel.scratch, default=None)

    @property
    def peak_ram(self) -> int:
        """Bytes of activations and scratch that live at once, at most."""
        return max((use.live + use.kernel.scratch for use in self.uses), default=0)

    @property
    def summary(self) -> str:
        """The totals, and what to change."""
        return "\n".join(_totals(self))

    def __str__(self) -> str:
        return "\n".join((*_totals(self), "", *_table(self)))


def cortex_m(info: Inspection, core: Core = "dsp") -> CortexMReport:
    """Returns what runs each operator of an inspected file on a Cortex-M, and the scratch that it takes.

    Raises:
      ValueError: if there is no such kind of core.
    """
    if core not in get_args(Core):
        raise ValueError(f"no core {core!r}: choose one of {', '.join(get_args(Core))}")
    graph = info.main
    return CortexMReport(
        core=core,
        uses=tuple(
            KernelUse(
                position=position,
                kind=operator.kind,
                output=graph.tensors[operator.outputs[0]].name if operator.outputs else "",
                macs=operator.macs,
                values=sum(math.prod(graph.tensors[i].shape) for i in operator.outputs),
                live=operator.live,
                kernel=kernel_of(graph, operator, core),
            )
            for position, operator in enumerate(graph.operators)
        ),
    )


def _totals(report: CortexMReport) -> Iterator[str]:
    total, macs = len(report.uses), report.macs
    share = report.fast_macs / macs if macs else 1.0
    yield f"Cortex-M {_CORES[report.core]}, TFLite Micro with CMSIS-NN, by its sources:"
    yield (
        f"operators: {len(report.fast)} of {total} on fast kernels, with {share:.1%} of "
        f"{macs:,} multiply-adds"
    )
    if report.plain:
        made, values = (sum(use.values for use in uses) for uses in (report.plain, report.uses))
        yield f"operators in plain C++: {len(report.plain)}, which make {made:,} of {values:,} values"
    unfit = [use for use in report.uses if use.kernel.speed == "unfit"]
    for use in unfit:
        yield f"does not run: operator {use.position}, {use.kind} ({use.output!r}): {use.kernel.problem}"
    most = report.most_scratch
    if most is None:
        yield "scratch: none"
    else:
        yield (
            f"scratch: {most.kernel.scratch:,} bytes at most, of operator {most.position}, {most.kind} "
            f"({most.output!r}); activations and scratch at once {report.peak_ram:,}"
        )
        yield "the arena that attokit measures is that of TFLite Micro's reference kernels: scratch comes on top"
    changes = list(_changes(report))
    if changes:
        yield "what to change:"
        yield from changes


def _changes(report: CortexMReport) -> Iterator[str]:
    """Yields a line per kind of operator and cure, with the first problem."""
    found: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for use in report.uses:
        problem = use.kernel.problem
        if problem is not None and problem.cure and use.kernel.speed != "unfit":
            found[use.kind, problem.cure].append(problem.what)
    for (kind, cure), whats in found.items():
        others = f" (and {len(whats) - 1} more)" if len(whats) > 1 else ""
        yield f"  {kind}{others}: {whats[0]}; {cure}"


def _table(report: CortexMReport) -> Iterator[str]:
    yield (
        f"{'#':>4} {'operator':18} {'output':32} {'kernel':34} {'speed':9} {'MACs':>13} "
        f"{'scratch':>9}  why"
    )
    for use in report.uses:
        kernel = use.kernel
        why = kernel.problem.what if kernel.problem is not None else ""
        yield (
            f"{use.position:4} {use.kind[:18]:18} {use.output[-32:]:32} {kernel.name or '-':34} "
            f"{kernel.speed:9} {use.macs:13,} {kernel.scratch:9,}  {why}".rstrip()
        )
