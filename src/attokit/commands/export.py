"""`attokit export`."""

import dataclasses
import hashlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console

from attokit import checkpoints, export, zoo
from attokit.datasets import load_dataset
from attokit.export import InterfaceType
from attokit.overrides import check_overrides, parse_overrides
from attokit.quant import Graph, QParams, calibrate, trace
from attokit.quant.graph import Weights
from attokit.quantization import calibrate_on
from attokit.runs import open_run
from attokit.training import write_labels

_RANDOM_IMAGES = 8
_CALIBRATION_IMAGES = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Writes a .tflite file.

    Attributes:
      target: A run folder; or the name of pretrained weights, which are calibrated on --data; or of
        a model, which gets random weights: good for measuring size and speed, for nothing else.
      output: The file; model.tflite in the run folder, or NAME.tflite, if left out.
      float: A float32 file instead of INT8.
      input_type: What the file takes: int8 (byte - 128), uint8 (the camera's bytes) or float32
        (byte / 255).
      output_type: Likewise for what it gives.
      data: To calibrate pretrained weights on.
      overrides: Fields of the config of a model by name.
    """

    target: tyro.conf.Positional[str]
    output: pathlib.Path | None = None
    float: bool = False
    input_type: InterfaceType | None = None
    output_type: InterfaceType | None = None
    data: str | None = None
    overrides: tuple[str, ...] = ()


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    path = pathlib.Path(options.target)
    if path.is_dir():
        if options.data is not None or options.overrides:
            raise ValueError("a run has its data and model: leave --data and --overrides out")
        graph, weights, qparams = _of_run(path, options.float)
        output = options.output or path / (
            "model_float.tflite" if options.float else "model.tflite"
        )
    else:
        graph, weights, qparams = _of_name(options, console)
        suffix = "_float" if options.float else ""
        output = options.output or pathlib.Path(f"{options.target}{suffix}.tflite")
    file = export.to_tflite(
        graph, weights, qparams, input_type=options.input_type, output_type=options.output_type
    )
    export.write(output, file)
    if path.is_dir():
        write_labels(output.with_name("labels.txt"), open_run(path).class_names)
    info = export.inspect(file)
    console.print(
        f"wrote {output}: {len(file):,} bytes, {info.parameters:,} parameters "
        f"({len(file) / max(info.parameters, 1):.3f} bytes each), {info.macs:,} MACs, "
        f"peak RAM {info.peak_ram:,} bytes\nsha256 {hashlib.sha256(file).hexdigest()}",
        highlight=False,
        soft_wrap=True,
    )


def _of_run(path: pathlib.Path, as_float: bool) -> tuple[Graph, Weights, QParams | None]:
    run_ = open_run(path)
    return (*run_.trace(), None) if as_float else run_.quantized()


def _of_name(options: Options, console: Console) -> tuple[Graph, Weights, QParams | None]:
    """Returns graph, weights and qparams of pretrained weights or of a model by name."""
    overrides = parse_overrides(options.overrides)
    pretrained = options.target in checkpoints.names()
    if pretrained:
        record = checkpoints.info(options.target)
        model, overrides = record.model, dict(record.overrides) | overrides
    else:
        model = options.target
        if model not in zoo.names() and pathlib.Path(model).name != model:
            raise ValueError(
                f"{model!r} is no folder, and no model or pretrained weights have that name: "
                "check the path of the run"
            )
    config = check_overrides(model, overrides)
    network = zoo.create(model, **overrides)
    example = jax.ShapeDtypeStruct((1, *config.image_size), jnp.float32)
    like = jax.eval_shape(network.init, jax.random.key(0), example)
    if pretrained:
        variables = checkpoints.load(options.target, like)
    else:
        console.print(f"{model} has random weights: for measuring only", style="yellow")
        variables = jax.jit(lambda key: network.init(key, jnp.zeros(example.shape)))(
            jax.random.key(0)
        )
    graph, weights = trace(network.apply, variables, example)
    if options.float:
        return graph, weights, None
    if options.data is not None:
        source = load_dataset(options.data, config.image_size).split("train")
        return graph, weights, calibrate_on(graph, weights, source, count=_CALIBRATION_IMAGES)
    if pretrained:
        raise ValueError(f"{options.target} must be calibrated: give --data, or --float")
    images = np.random.default_rng(0).random((_RANDOM_IMAGES, *config.image_size), np.float32)
    return graph, weights, calibrate(graph, weights, [images])
