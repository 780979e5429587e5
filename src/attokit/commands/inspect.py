"""`attokit inspect`."""

import dataclasses
import pathlib
from typing import Literal

import tyro
from rich.console import Console

from attokit.export import Accelerator, Core, cortex_m, edge_tpu, ethos_u, inspect, write
from attokit.memory_picture import memory_picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Shows what any .tflite file holds: operators, types, parameters, MACs, peak RAM.

    Attributes:
      file: Its path.
      target: Says of every operator whether it runs there, and what to change: coral (the Edge TPU of
        Coral's boards, by its published rules), cortex-m (which kernel of Arm's CMSIS-NN runs it in TFLite
        Micro, and its scratch, by their sources) or ethos-u (Arm's NPU for microcontrollers, by its compiler
        Vela, with memory and cycles).
      accelerator: Which Ethos-U.
      core: Which Cortex-M: with the DSP extension (M4, M7, M33) or with Helium (M52, M55, M85).
      plot: A PNG to write: the memory of activations over time, as TFLite Micro's planner places them.
    """

    file: tyro.conf.Positional[pathlib.Path]
    target: Literal["coral", "cortex-m", "ethos-u"] | None = None
    accelerator: Accelerator = "ethos-u55-128"
    core: Core = "dsp"
    plot: pathlib.Path | None = None

    def __post_init__(self) -> None:
        """Refuses an accelerator or a core of nothing."""
        if self.accelerator != type(self).accelerator and self.target != "ethos-u":
            raise ValueError(
                f"accelerator {self.accelerator} changes nothing: add --target ethos-u"
            )
        if self.core != type(self).core and self.target != "cortex-m":
            raise ValueError(f"core {self.core} changes nothing: add --target cortex-m")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    info = inspect(options.file)
    # The console's tables would wrap the long lines.
    if options.target == "ethos-u":
        print(ethos_u(options.file, options.accelerator))
    elif options.target == "cortex-m":
        print(cortex_m(info, options.core))
    else:
        print(info if options.target is None else edge_tpu(info))
    if options.plot is not None:
        path = write(options.plot, memory_picture(info))
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
