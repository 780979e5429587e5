"""`attokit compare`."""

import dataclasses
import pathlib

import tyro
from rich.console import Console

from attokit.export import compare
from attokit.quant import Kernels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Tells how two .tflite files differ: operators, cost, and what they make of the same inputs.

    Attributes:
      first: Path of a file.
      second: Path of another.
      inputs: How many random inputs to run.
      kernels: Whose runtime: reference, xnnpack (LiteRT as it comes) or micro (TFLite Micro).
    """

    first: tyro.conf.Positional[pathlib.Path]
    second: tyro.conf.Positional[pathlib.Path]
    inputs: int = 8
    kernels: Kernels = "reference"


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    del console  # its tables would wrap the long lines
    print(compare(options.first, options.second, count=options.inputs, kernels=options.kernels))
