"""`attokit inspect`."""

import dataclasses
import pathlib

import tyro
from rich.console import Console

from attokit.export import inspect


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Shows what any .tflite file holds: operators, types, parameters, MACs, peak RAM.

    Attributes:
      file: Its path.
    """

    file: tyro.conf.Positional[pathlib.Path]


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    del console  # its tables would wrap the long lines
    print(inspect(options.file))
