"""Anything that predicts, by the text that names it: a run, pretrained weights, a .tflite file."""

import pathlib

import jax
import jax.numpy as jnp

from attokit import checkpoints, zoo
from attokit.overrides import check_overrides
from attokit.predictor import Predictor, of_bytes
from attokit.quant import fake_quant
from attokit.runs import open_run
from attokit.tflite_predictor import file_predictor
from attokit.train import network_anchors
from attokit.zoo.registry import Task


def open_predictor(
    target: str,
    *,
    quantized: bool = False,
    task: Task | None = None,
    labels: pathlib.Path | None = None,
    input_range: tuple[float, float] | None = None,
) -> Predictor:
    """Returns the predictor that a text names.

    Args:
      target: A run folder, a .tflite file, or the name of pretrained weights.
      quantized: The run's integer graph rather than its float network.
      task: Of a .tflite file; see `file_predictor`.
      labels: Likewise.
      input_range: Likewise.

    Raises:
      ValueError: if it is none of these, or damaged, or an option does not belong to it.
    """
    path = pathlib.Path(target)
    if quantized and not path.is_dir():
        raise ValueError(f"{target!r} is no run folder: only a run has a quantized graph")
    if path.is_file():
        return file_predictor(path, labels, task=task, input_range=input_range)
    if not path.is_dir() and checkpoints.find(target) is None:
        raise ValueError(
            f"{target!r} is no run folder, no .tflite file and no pretrained weights "
            f"({', '.join(checkpoints.names()) or 'there are none'}): check the path"
        )
    if labels is not None:
        raise ValueError("--labels is for a .tflite file: a run knows its classes")
    if input_range is not None:
        raise ValueError("--input-range is for a .tflite file: models here take 0 to 1")
    if task is not None:
        raise ValueError("--task is for a .tflite file: a run knows its task")
    if path.is_dir():
        return run_predictor(path, quantized=quantized)
    return pretrained_predictor(target)


def run_predictor(path: pathlib.Path, *, quantized: bool = False) -> Predictor:
    """Returns the float network of a run, or its integer graph."""
    run = open_run(path)
    network = run.network()
    if quantized:
        graph, weights, qparams = run.quantized()
        outputs = of_bytes(lambda images: fake_quant(graph)(weights, qparams, images))
    else:
        variables = run.variables()
        outputs = of_bytes(lambda images: network.apply(variables, images))
    return Predictor(
        name=f"{run.path} ({'INT8 graph' if quantized else 'float'})",
        task=run.task,
        image_shape=run.image_shape,
        num_classes=len(run.class_names),
        class_names=run.class_names,
        data=run.data,
        split=run.split,
        outputs=outputs,
        anchors=network_anchors(network, run.image_shape[:2]),
        any_size=not quantized,
    )


def pretrained_predictor(name: str) -> Predictor:
    """Returns the network of pretrained weights."""
    record = checkpoints.info(name)
    config = check_overrides(record.model, record.overrides)
    network = zoo.create(record.model, **record.overrides)
    example = jax.ShapeDtypeStruct((1, *config.image_size), jnp.float32)
    variables = checkpoints.load(name, jax.eval_shape(network.init, jax.random.key(0), example))
    return Predictor(
        name=name,
        task=zoo.task(record.model),
        image_shape=config.image_size,
        num_classes=config.num_classes,
        class_names=record.class_names,
        data=record.data,
        outputs=of_bytes(lambda images: network.apply(variables, images)),
        anchors=network_anchors(network, config.image_size[:2]),
        any_size=True,
    )
