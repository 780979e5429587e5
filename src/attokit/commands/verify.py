"""`attokit verify`."""

import dataclasses
import pathlib
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from attokit import export, quant
from attokit.datasets import load_dataset
from attokit.export.lowerings.context import Target
from attokit.noise_report import WRITERS, check_suffix, noise_report
from attokit.origins import Origin, is_name, open_origin, own_file
from attokit.precision import Precision
from attokit.quant import Kernels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Compares a .tflite file with the graph it was made of, tensor by tensor.

    Exits with 1 if a tensor differs by more than its tolerance.

    Attributes:
      target: A run folder, whose model.tflite is meant; a .tflite file; or the name of pretrained
        weights or of a model, whose NAME.tflite is meant, as attokit export writes it.
      source: What the file was exported from, as attokit export takes it: a run folder, or the name
        of pretrained weights or of a model; the file's own folder if left out.
      data: For such a name: what attokit export was given.
      overrides: What attokit export was given.
      int16: What attokit export was given.
      int8: Likewise.
      float32: Likewise.
      fit_memory: Likewise.
      open_hard_swish: Likewise.
      chip: What attokit export was given as --target.
      kernels: Whose runtime: reference (LiteRT's reference kernels), xnnpack (LiteRT as it comes)
        or micro (TFLite Micro).
      images: How many test images to run, or of another split where there is no test.
      random_images: Random images instead, which need no data; so it is where no data is named.
      report: Also tells the noise of quantization: of every layer as signal to noise in dB, with all before it
        quantized and its own, the images with the largest error, and which layers to keep at more bits.
      report_images: Over how many images.
      output: A file to write the report to, .md or .json.
    """

    target: tyro.conf.Positional[str]
    source: str | None = None
    data: str | None = None
    overrides: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int8: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()
    fit_memory: bool = False
    open_hard_swish: tuple[str, ...] = ()
    chip: Annotated[Target, tyro.conf.arg(name="target")] = "android"
    kernels: Kernels = "reference"
    images: int = 4
    random_images: bool = False
    report: bool = False
    report_images: int = 64
    output: pathlib.Path | None = None

    def __post_init__(self) -> None:
        """Refuses to prove nothing."""
        for name in ("images", "report_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.output is not None:
            if not self.report:
                raise ValueError(f"output {self.output} is where a report is written: add --report")
            check_suffix(self.output)


def run(options: Options, console: Console) -> int:
    """Runs the command; 1 if the file differs."""
    file, source = _places(options)
    if not file.is_file():
        raise ValueError(f"there is no {file}: run attokit export {source} first")
    info = export.inspect(file)
    is_float = info.float_operators == sum(info.histogram.values())
    origin = open_origin(
        source,
        as_float=is_float,
        data=options.data,
        overrides=options.overrides,
        precision=Precision(
            int16=options.int16,
            int8=options.int8,
            float32=options.float32,
            open_hard_swish=options.open_hard_swish,
        ),
    )
    if options.report and origin.qparams is None:
        raise ValueError(f"{file} is float32, without noise of quantization: leave --report out")
    inputs, _ = _images(options, origin, options.images)
    graph = quant.fit_memory(origin.graph) if options.fit_memory else origin.graph
    report = export.verify(
        file,
        graph,
        origin.weights,
        origin.qparams,
        inputs,
        kernels=options.kernels,
        target=options.chip,
    )
    print(report)
    if options.report:
        _report_noise(options, origin, console)
    return 0 if report.ok else 1


def _report_noise(options: Options, origin: Origin, console: Console) -> None:
    """Prints and writes what quantization does to layers and images."""
    assert origin.qparams is not None  # checked before any work
    images, labels = _images(options, origin, options.report_images)
    with console.status("measuring noise"):
        found = noise_report(
            origin.graph, origin.weights, origin.qparams, images, labels, options.kernels
        )
    found.print(console)
    if options.output is not None:
        text = WRITERS[options.output.suffix](found)
        path = export.write(options.output, text.encode())
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _places(options: Options) -> tuple[pathlib.Path, str]:
    """Returns the file and what it was exported from."""
    path = pathlib.Path(options.target)
    if path.is_file():
        return path, options.source or str(path.parent)
    if options.source is not None:
        raise ValueError(
            f"{options.target!r} is no file: --source says what a .tflite file was exported from"
        )
    if path.is_dir():
        path = own_file(options.target, overrides=options.overrides, chip=options.chip)
        return path, options.target
    if is_name(options.target):
        return own_file(options.target, chip=options.chip), options.target
    raise ValueError(
        f"there is no {options.target!r}: give a run folder, a file that attokit export wrote, or "
        "the name of pretrained weights or of a model"
    )


def _images(options: Options, origin: Origin, count: int) -> tuple[np.ndarray, list[str]]:
    """Returns images in [0, 1] and, where they have one, the names of their classes."""
    if options.random_images or origin.data is None:
        images = np.random.default_rng(0).integers(0, 256, (count, *origin.image_shape))
        return _reals(images), []
    dataset = load_dataset(origin.data, origin.image_shape, task=origin.task)
    source = dataset.split("test" if "test" in dataset.splits else min(dataset.splits))
    batch = source.read(np.arange(min(count, len(source))))
    labels = batch.get("labels")
    names = [] if labels is None else [dataset.class_names[int(label)] for label in labels]
    return _reals(batch["images"]), names


def _reals(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255)
