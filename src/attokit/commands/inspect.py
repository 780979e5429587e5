"""`attokit inspect`."""

import dataclasses
import pathlib
from typing import Literal

import tyro
from rich.console import Console

from attokit.export import Accelerator, edge_tpu, ethos_u, inspect, write
from attokit.memory_picture import memory_picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Shows what any .tflite file holds: operators, types, parameters, MACs, peak RAM.

    Attributes:
      file: Its path.
      target: Says of every operator whether it runs there, and what to change: coral (the Edge TPU of
        Coral's boards, by its published rules) or ethos-u (Arm's NPU for microcontrollers, by its compiler
        Vela, with memory and cycles).
      accelerator: Which Ethos-U.
      plot: A PNG to write: the memory of activations over time, as TFLite Micro's planner places them.
    """

    file: tyro.conf.Positional[pathlib.Path]
    target: Literal["coral", "ethos-u"] | None = None
    accelerator: Accelerator = "ethos-u55-128"
    plot: pathlib.Path | None = None

    def __post_init__(self) -> None:
        """Refuses an accelerator of nothing."""
        if self.accelerator != type(self).accelerator and self.target != "ethos-u":
            raise ValueError(
                f"accelerator {self.accelerator} changes nothing: add --target ethos-u"
            )


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    info = inspect(options.file)
    # The console's tables would wrap the long lines.
    if options.target == "ethos-u":
        print(ethos_u(options.file, options.accelerator))
    else:
        print(info if options.target is None else edge_tpu(info))
    if options.plot is not None:
        path = write(options.plot, memory_picture(info))
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
