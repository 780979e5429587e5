"""`attokit inspect`."""

import dataclasses
import pathlib
from typing import Literal

import tyro
from rich.console import Console

from attokit.export import edge_tpu, inspect


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Shows what any .tflite file holds: operators, types, parameters, MACs, peak RAM.

    Attributes:
      file: Its path.
      target: Says of every operator whether it runs there, and what to change: coral (the Edge TPU of
        Coral's boards, by its published rules).
    """

    file: tyro.conf.Positional[pathlib.Path]
    target: Literal["coral"] | None = None


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    del console  # its tables would wrap the long lines
    info = inspect(options.file)
    print(info if options.target is None else edge_tpu(info))
