"""`attokit verify`."""

import dataclasses
import pathlib

import numpy as np
import tyro
from rich.console import Console

from attokit import export
from attokit.datasets import load_dataset
from attokit.quant import Kernels
from attokit.runs import Run, open_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Compares a .tflite file with the graph it was made of, tensor by tensor.

    Exits with 1 if a tensor differs by more than its tolerance.

    Attributes:
      target: A run folder, whose model.tflite is meant, or a .tflite file.
      run_dir: The run that the file was exported from; the file's own folder if left out.
      kernels: Whose runtime: reference (LiteRT's reference kernels), xnnpack (LiteRT as it comes)
        or micro (TFLite Micro).
      images: How many test images to run.
      random_images: Random images instead, which need no data.
    """

    target: tyro.conf.Positional[pathlib.Path]
    run_dir: pathlib.Path | None = None
    kernels: Kernels = "reference"
    images: int = 4
    random_images: bool = False

    def __post_init__(self) -> None:
        """Refuses to prove nothing."""
        if self.images < 1:
            raise ValueError(f"images is {self.images}: give at least 1")


def run(options: Options, console: Console) -> int:
    """Runs the command; 1 if the file differs."""
    is_run = options.target.is_dir()
    if not options.target.exists():
        raise ValueError(
            f"there is no {str(options.target)!r}: give a run folder, or a file that attokit "
            "export wrote"
        )
    run_ = open_run(options.target if is_run else options.run_dir or options.target.parent)
    file = run_.tflite_path if is_run else options.target
    if not file.is_file():
        raise ValueError(f"there is no {file}: run attokit export {run_.path} first")
    info = export.inspect(file)
    is_float = info.float_operators == sum(info.histogram.values())
    graph, weights, qparams = (*run_.trace(), None) if is_float else run_.quantized()
    inputs = _images(options, run_).astype(np.float32) / np.float32(255)
    report = export.verify(file, graph, weights, qparams, inputs, kernels=options.kernels)
    print(report)
    return 0 if report.ok else 1


def _images(options: Options, run_: Run) -> np.ndarray:
    if options.random_images:
        shape = (options.images, *run_.image_shape)
        return np.random.default_rng(0).integers(0, 256, shape)
    source = load_dataset(run_.data, run_.image_shape).split("test")
    return source.read(np.arange(min(options.images, len(source))))["images"]
