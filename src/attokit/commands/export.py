"""`attokit export`."""

import dataclasses
import hashlib
import pathlib

import tyro
from rich.console import Console

from attokit import export
from attokit.export import InterfaceType
from attokit.origins import open_origin, own_file
from attokit.precision import Precision
from attokit.tasks import view_of
from attokit.training import write_labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Writes a .tflite file.

    Attributes:
      target: A run folder; or the name of pretrained weights, which are calibrated on --data; or of
        a model, which gets random weights: good for measuring size and speed, for nothing else.
      output: The file; model.tflite in the run folder (model_argmax.tflite with output=argmax), or
        NAME.tflite, if left out.
      float: A float32 file instead of INT8.
      input_type: What the file takes: int8 (byte - 128), uint8 (the camera's bytes) or float32
        (byte / 255).
      output_type: Likewise for what it gives.
      data: To calibrate pretrained weights on; what they were trained on if left out and they say.
      int16: Patterns of names of ops whose activations have 16 bits ('*', 'head/*'); of pretrained
        weights and models. A run has what attokit quantize was given.
      int8: Patterns of those among them that keep 8.
      float32: Patterns of names of ops that stay float32, and of inputs ('softmax').
      overrides: Fields of the model's config. Of a run only such as choose how the trained network
        ends: output=argmax (class ids) or output=quarter (small logits) of segmentation models.
    """

    target: tyro.conf.Positional[str]
    output: pathlib.Path | None = None
    float: bool = False
    input_type: InterfaceType | None = None
    output_type: InterfaceType | None = None
    data: str | None = None
    overrides: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int8: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    origin = open_origin(
        options.target,
        as_float=options.float,
        data=options.data,
        overrides=options.overrides,
        precision=Precision(int16=options.int16, int8=options.int8, float32=options.float32),
    )
    if origin.random:
        console.print(f"{options.target} has random weights: for measuring only", style="yellow")
    output = options.output or own_file(
        options.target, as_float=options.float, overrides=options.overrides
    )
    file = export.to_tflite(
        origin.graph,
        origin.weights,
        origin.qparams,
        input_type=options.input_type,
        output_type=options.output_type,
        metadata=view_of(origin.task).file_metadata(origin.network, origin.image_shape),
    )
    export.write(output, file)
    if origin.class_names is not None:
        _label(output.with_name("labels.txt"), origin.class_names, console)
    info = export.inspect(file)
    console.print(
        f"wrote {output}: {len(file):,} bytes, {info.parameters:,} parameters "
        f"({len(file) / max(info.parameters, 1):.3f} bytes each), {info.macs:,} MACs, "
        f"peak RAM {info.peak_ram:,} bytes\nsha256 {hashlib.sha256(file).hexdigest()}",
        highlight=False,
        soft_wrap=True,
    )


def _label(path: pathlib.Path, class_names: tuple[str, ...], console: Console) -> None:
    """Writes the names of the classes beside the file; other names that are there stay."""
    try:
        known = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        known = None
    if known == class_names:
        return
    if path.exists():
        note = f"{path} holds other names than those of these classes, and is left as it is"
        console.print(note, style="yellow", highlight=False, soft_wrap=True)
        return
    write_labels(path, class_names)
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
