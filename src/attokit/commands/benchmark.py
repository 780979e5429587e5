"""`attokit benchmark`."""

import dataclasses
import pathlib

import tyro
from rich.console import Console

from attokit.export import benchmark
from attokit.quant import Kernels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Times a .tflite file on one core of this machine, or two that take turns.

    Attributes:
      file: Its path.
      vs: Path of another: how the two compare, by the ratio of each round.
      kernels: Whose runtimes: xnnpack (LiteRT as it comes), reference, micro (TFLite Micro on this machine).
      rounds: Measurements of each file.
    """

    file: tyro.conf.Positional[pathlib.Path]
    vs: pathlib.Path | None = None
    kernels: tuple[Kernels, ...] = ("xnnpack", "reference")
    rounds: int = 50

    def __post_init__(self) -> None:
        """Refuses to time nothing."""
        if not self.kernels:
            raise ValueError("kernels are empty: name one of xnnpack, reference and micro")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    files = [options.file] if options.vs is None else [options.file, options.vs]
    for kernels in options.kernels:
        found = benchmark(*files, kernels=kernels, rounds=options.rounds)
        console.print(str(found), highlight=False, soft_wrap=True)
