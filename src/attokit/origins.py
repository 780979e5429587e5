"""What a .tflite file is exported from: a run, pretrained weights or a model, behind one function."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attokit import checkpoints, zoo
from attokit.datasets import load_dataset
from attokit.export.lowerings.context import Target
from attokit.overrides import check_overrides, parse_overrides
from attokit.post_training import quantize_on
from attokit.precision import Precision
from attokit.quant import Graph, QParams, calibrate, trace
from attokit.quant.graph import Weights
from attokit.runs import Run, open_run
from attokit.same_body import check_same_body
from attokit.zoo.registry import Task

_RANDOM_IMAGES = 8
_CALIBRATION_IMAGES = 512
_INT8 = Precision()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """A graph with its numbers. The same text and options give the same one again.

    Attributes:
      graph: As traced.
      network: Of which.
      task: Key of `tasks.TASKS`.
      weights: Of the graph.
      qparams: None for a float file.
      image_shape: Height, width and channels that it takes.
      class_names: In the order of the class ids; None for a model with random weights.
      data: What the caller, or else the run or the pretrained weights name, as `load_dataset` takes it.
      random: Whether the weights are.
    """

    graph: Graph
    network: nn.Module
    task: Task
    weights: Weights
    qparams: QParams | None
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None
    data: str | None
    random: bool = False


def open_origin(
    target: str,
    *,
    as_float: bool = False,
    data: str | None = None,
    overrides: Sequence[str] = (),
    precision: Precision = _INT8,
) -> Origin:
    """Returns what a text names.

    Args:
      target: A run folder; or the name of pretrained weights, which are calibrated on `data`; or
        of a model, which gets random weights and is calibrated on `data` or else random images.
      as_float: Without quantization.
      data: As `load_dataset` takes it; a run has its own, and some pretrained weights name theirs.
      overrides: Fields `NAME=VALUE` of the model's config. Those of a run may only change how it
        ends, such as output=argmax of a segmentation model: see `check_same_body`.
      precision: Types of ops; a run has its own.

    Raises:
      ValueError: if it is none of these, or damaged, not quantized or without data to do so.
    """
    path = pathlib.Path(target)
    if as_float and precision:
        raise ValueError(f"a float32 file has no {', '.join(precision.settings())}: leave them out")
    if not path.is_dir():
        return _of_name(target, as_float, data, overrides, precision)
    if data is not None:
        raise ValueError("a run has its data: leave --data out")
    if precision:
        raise ValueError(
            f"a run has its types: give --{' and --'.join(precision.settings())} to attokit quantize"
        )
    run = open_run(path)
    graph, weights, qparams = (*run.trace(), None) if as_float else run.quantized()
    if overrides:
        own = _INT8 if as_float else run.precision()
        graph = _ending_otherwise(run, own, graph, parse_overrides(overrides))
    return Origin(
        graph=graph,
        network=run.network(),
        task=run.task,
        weights=weights,
        qparams=qparams,
        image_shape=run.image_shape,
        class_names=run.class_names,
        data=run.data,
    )


def _ending_otherwise(
    run: Run, precision: Precision, graph: Graph, fields: Mapping[str, Any]
) -> Graph:
    """Returns the graph of a run, in its types, with other fields of its config.

    Raises:
      ValueError: if the config refuses them, or they change more than how the graph ends.
    """
    config = check_overrides(run.model, {**run.overrides, **fields})
    if config == check_overrides(run.model, run.overrides):
        raise ValueError(f"overrides {', '.join(fields)} change nothing of the run: leave them out")
    other = dataclasses.replace(run, overrides={**run.overrides, **fields})
    try:
        changed = other.trace()[0]
        changed = precision.fitting(changed).apply(changed)
        check_same_body(graph, changed)
    except ValueError as err:
        raise ValueError(
            f"{run.path} was not trained with {', '.join(f'{k}={v}' for k, v in fields.items())}: "
            f"{err}; only fields that choose how a trained network ends may change"
        ) from err
    return changed


def own_file(
    target: str, *, as_float: bool = False, overrides: Sequence[str] = (), chip: Target = "android"
) -> pathlib.Path:
    """Returns the file that is written for a target unless another one is named.

    One with overrides, or for a chip of its own, does not take the place of a run's own: they are in its name.
    """
    path, suffix = pathlib.Path(target), "_float" if as_float else ""
    suffix += "" if chip == "android" else f"_{chip}"
    if not path.is_dir():
        return pathlib.Path(f"{target}{suffix}.tflite")
    values = "".join(f"_{value}" for value in parse_overrides(overrides).values())
    return path / f"model{re.sub('[^A-Za-z0-9_]+', '-', values)}{suffix}.tflite"


def is_name(target: str) -> bool:
    """Returns whether pretrained weights or a model have a name."""
    return target in zoo.names() or checkpoints.find(target) is not None


def _of_name(
    target: str, as_float: bool, data: str | None, texts: Sequence[str], precision: Precision
) -> Origin:
    """Returns pretrained weights, or a model with random ones, by name."""
    overrides = parse_overrides(texts)
    record = checkpoints.find(target)
    if record is not None:
        model, overrides = record.model, dict(record.overrides) | overrides
        data = data or record.data
    else:
        model = target
        if not is_name(model) and pathlib.Path(model).name != model:
            raise ValueError(
                f"{model!r} is no folder, and no model or pretrained weights have that name: "
                "check the path of the run"
            )
    config = check_overrides(model, overrides)
    if record is not None and data is None and not as_float:
        raise ValueError(f"{target} must be calibrated: give --data, or a float file")
    network = zoo.create(model, **overrides)
    example = jax.ShapeDtypeStruct((1, *config.image_size), jnp.float32)
    like = jax.eval_shape(network.init, jax.random.key(0), example)
    if record is not None:
        variables = checkpoints.load(target, like)
    else:
        variables = jax.jit(lambda key: network.init(key, jnp.zeros(example.shape)))(
            jax.random.key(0)
        )
    graph, weights = trace(network.apply, variables, example)
    graph = precision.apply(graph)
    return Origin(
        graph=graph,
        network=network,
        task=zoo.task(model),
        weights=weights,
        qparams=None
        if as_float
        else _calibrated(graph, weights, data, config.image_size, zoo.task(model)),
        image_shape=config.image_size,
        class_names=None if record is None else record.class_names,
        data=data,
        random=record is None,
    )


def _calibrated(
    graph: Graph, weights: Weights, data: str | None, image_shape: tuple[int, int, int], task: Task
) -> QParams:
    if data is not None:
        source = load_dataset(data, image_shape, task=task).split("train")
        return quantize_on(graph, weights, source, count=_CALIBRATION_IMAGES)[1]
    images = np.random.default_rng(0).random((_RANDOM_IMAGES, *image_shape), np.float32)
    return calibrate(graph, weights, [images])
