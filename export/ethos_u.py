"""What Arm's Ethos-U makes of a file: memory, cycles and what stays on the CPU, as its compiler Vela says."""

import csv
import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Literal, get_args

from attokit.export.anatomy import Inspection
from attokit.export.inspection import inspect, read

Accelerator = Literal[
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256",
    "ethos-u65-512", "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024",
    "ethos-u85-2048",
]  # fmt: skip
COMPILED = "ethos-u"  # Vela's custom operator: all that runs on the NPU
_MEMORIES = ("sram", "dram", "on_chip_flash", "off_chip_flash")
_REFUSAL = re.compile(r"operator: (\S+), ofm: '([^']*)'\s*\n\s*Reason: (.*(?:\n(?!\s*\n).*)*)")
_SECONDS = 600


@dataclasses.dataclass(frozen=True, kw_only=True)
class CpuOperator:
    """An operator that stays on the CPU.

    Attributes:
      kind: The schema's name.
      output: Name of what it makes.
      reason: Vela's, or "" where it gives none.
    """

    kind: str
    output: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EthosUReport:
    """A file, compiled.

    Attributes:
      accelerator: For which.
      system: Vela's name of the system around it, whose memories and clock it assumes.
      memory_mode: Vela's name of what lies in which memory.
      memory: Bytes used of each memory ("sram", "dram", "on_chip_flash", "off_chip_flash").
      cycles: Of the NPU and its memories for one run, by Vela's estimate; the CPU's are not among them.
      clock_hz: Of the NPU.
      operators: How many the file has before compilation.
      on_cpu: Those that stay on the CPU.
      file_bytes: Of the compiled file.
    """

    accelerator: Accelerator
    system: str
    memory_mode: str
    memory: dict[str, int]
    cycles: int
    clock_hz: float
    operators: int
    on_cpu: tuple[CpuOperator, ...]
    file_bytes: int

    @property
    def milliseconds(self) -> float:
        """Of one run, by Vela's estimate, without the operators on the CPU."""
        return 1000 * self.cycles / self.clock_hz

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def ethos_u(
    file: str | os.PathLike[str] | bytes, accelerator: Accelerator = "ethos-u55-128"
) -> EthosUReport:
    """Returns what Vela makes of a file for an accelerator, in its default system and memory mode.

    Raises:
      ValueError: if Vela is not installed or fails, there is no such accelerator, or the file is damaged or
        compiled already.
    """
    if accelerator not in get_args(Accelerator):
        raise ValueError(
            f"no accelerator {accelerator!r}: choose one of {', '.join(get_args(Accelerator))}"
        )
    data, name = read(file)
    info = inspect(data if isinstance(file, bytes) else file)
    if COMPILED in info.histogram:
        raise ValueError(
            f"{name} is compiled for Ethos-U already: give the file before compilation"
        )
    if importlib.util.find_spec("ethosu") is None:
        raise ValueError(
            "what Ethos-U makes of a file is known to its compiler Vela, which is not installed; "
            "pip install 'attokit[ethos-u]'"
        )
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "model.tflite"
        source.write_bytes(data)
        printed = _compile(source, accelerator, name)
        return _report(source.parent, accelerator, info, printed)


def _compile(source: pathlib.Path, accelerator: str, name: str) -> str:
    """Runs Vela, which writes beside the file, and returns what it prints."""
    command = [sys.executable, "-m", "ethosu.vela", str(source)]
    command += ["--output-dir", str(source.parent), "--accelerator-config", accelerator]
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            cwd=source.parent,
        )
    except subprocess.TimeoutExpired as err:
        raise ValueError(f"Vela did not finish {name} within {_SECONDS} seconds") from err
    printed = f"{process.stdout}\n{process.stderr}"
    if process.returncode != 0 or not _compiled(source.parent).is_file():
        last = [line for line in printed.splitlines() if line.strip()][-1:]
        raise ValueError(
            f"Vela cannot compile {name} for {accelerator}: {''.join(last) or 'no word'}"
        )
    return printed


def _compiled(folder: pathlib.Path) -> pathlib.Path:
    return folder / "model_vela.tflite"


def _report(
    folder: pathlib.Path, accelerator: Accelerator, info: Inspection, printed: str
) -> EthosUReport:
    (table,) = folder.glob("*_summary_*.csv")
    with table.open(newline="") as lines:
        figures = list(csv.DictReader(lines))[-1]
    compiled = inspect(_compiled(folder))
    reasons = {
        (kind, output): " ".join(reason.split())
        for kind, output, reason in _REFUSAL.findall(printed)
    }
    left = [
        (operator.kind, graph.tensors[operator.outputs[0]].name if operator.outputs else "")
        for graph in compiled.subgraphs
        for operator in graph.operators
        if operator.kind != COMPILED
    ]
    return EthosUReport(
        accelerator=accelerator,
        system=figures["system_config"],
        memory_mode=figures["memory_mode"],
        memory={n: round(1024 * float(figures[f"{n}_memory_used"])) for n in _MEMORIES},
        cycles=int(figures["cycles_total"]),
        clock_hz=float(figures["core_clock"]),
        operators=sum(info.histogram.values()),
        on_cpu=tuple(
            CpuOperator(kind=kind, output=output, reason=reasons.get((kind, output), ""))
            for kind, output in left
        ),
        file_bytes=compiled.size,
    )


def _lines(report: EthosUReport) -> Iterator[str]:
    total, left = report.operators, len(report.on_cpu)
    yield f"{report.accelerator} ({report.system}, {report.memory_mode}), by Vela:"
    yield f"operators: {max(total - left, 0)} of {total} on the NPU, {left} on the CPU"
    used = (f"{name.replace('_', ' ')} {size:,}" for name, size in report.memory.items() if size)
    yield f"memory in bytes: {', '.join(used) or 'none'}; the compiled file {report.file_bytes:,}"
    yield (
        f"cycles: {report.cycles:,} at {report.clock_hz / 1e6:g} MHz, {report.milliseconds:.3f} ms"
        + (", without those of the CPU" if left else "")
    )
    if left:
        yield ""
        yield f"{'on the CPU':24} {'output':44} why"
        for operator in report.on_cpu:
            yield f"{operator.kind[:24]:24} {operator.output[-44:]:44} {operator.reason}"
