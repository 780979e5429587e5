"""What a .tflite file is exported from: a run, pretrained weights or a model, behind one function."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from attokit import checkpoints, zoo
from attokit.datasets import load_dataset
from attokit.overrides import check_overrides, parse_overrides
from attokit.quant import Graph, QParams, calibrate, trace
from attokit.quant.graph import Weights
from attokit.quantization import calibrate_on
from attokit.runs import open_run

_RANDOM_IMAGES = 8
_CALIBRATION_IMAGES = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """A graph with its numbers. The same text and options give the same one again.

    Attributes:
      graph: As traced.
      weights: Of the graph.
      qparams: None for a float file.
      image_shape: Height, width and channels that it takes.
      class_names: In the order of the logits, if it is a run.
      data: What the run, or else the caller named, as `load_dataset` takes it.
      random: Whether the weights are.
    """

    graph: Graph
    weights: Weights
    qparams: QParams | None
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None
    data: str | None
    random: bool = False


def open_origin(
    target: str, *, as_float: bool = False, data: str | None = None, overrides: Sequence[str] = ()
) -> Origin:
    """Returns what a text names.

    Args:
      target: A run folder; or the name of pretrained weights, which are calibrated on `data`; or
        of a model, which gets random weights and is calibrated on `data` or else random images.
      as_float: Without quantization.
      data: As `load_dataset` takes it; a run has its own.
      overrides: Fields `NAME=VALUE` of the config of a model by name.

    Raises:
      ValueError: if it is none of these, or damaged, not quantized or without data to do so.
    """
    path = pathlib.Path(target)
    if not path.is_dir():
        return _of_name(target, as_float, data, overrides)
    if data is not None or overrides:
        raise ValueError("a run has its data and model: leave --data and --overrides out")
    run = open_run(path)
    graph, weights, qparams = (*run.trace(), None) if as_float else run.quantized()
    return Origin(
        graph=graph,
        weights=weights,
        qparams=qparams,
        image_shape=run.image_shape,
        class_names=run.class_names,
        data=run.data,
    )


def is_name(target: str) -> bool:
    """Returns whether pretrained weights or a model have a name."""
    return target in checkpoints.names() or target in zoo.names()


def _of_name(target: str, as_float: bool, data: str | None, texts: Sequence[str]) -> Origin:
    """Returns pretrained weights, or a model with random ones, by name."""
    overrides = parse_overrides(texts)
    pretrained = target in checkpoints.names()
    if pretrained:
        record = checkpoints.info(target)
        model, overrides = record.model, dict(record.overrides) | overrides
    else:
        model = target
        if not is_name(model) and pathlib.Path(model).name != model:
            raise ValueError(
                f"{model!r} is no folder, and no model or pretrained weights have that name: "
                "check the path of the run"
            )
    config = check_overrides(model, overrides)
    if pretrained and data is None and not as_float:
        raise ValueError(f"{target} must be calibrated: give --data, or a float file")
    network = zoo.create(model, **overrides)
    example = jax.ShapeDtypeStruct((1, *config.image_size), jnp.float32)
    like = jax.eval_shape(network.init, jax.random.key(0), example)
    if pretrained:
        variables = checkpoints.load(target, like)
    else:
        variables = jax.jit(lambda key: network.init(key, jnp.zeros(example.shape)))(
            jax.random.key(0)
        )
    graph, weights = trace(network.apply, variables, example)
    return Origin(
        graph=graph,
        weights=weights,
        qparams=None if as_float else _calibrated(graph, weights, data, config.image_size),
        image_shape=config.image_size,
        class_names=None,
        data=data,
        random=not pretrained,
    )


def _calibrated(
    graph: Graph, weights: Weights, data: str | None, image_shape: tuple[int, int, int]
) -> QParams:
    if data is not None:
        source = load_dataset(data, image_shape).split("train")
        return calibrate_on(graph, weights, source, count=_CALIBRATION_IMAGES)
    images = np.random.default_rng(0).random((_RANDOM_IMAGES, *image_shape), np.float32)
    return calibrate(graph, weights, [images])
