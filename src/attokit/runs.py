"""A trained run: the folder that commands hand on to each other.

config.json             model, data and settings of the training
metrics.jsonl, events   what `attokit.train` logs; `checkpoints/` resumes it
weights.safetensors     the float variables to ship
quantized.safetensors   weights and qparams of the graph; `qat/` is the run that trained them
model.tflite, labels.txt
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import PyTree

from attokit import zoo
from attokit.checkpoints import load_weights, save_weights
from attokit.checkpoints.weights import flatten_tree, load_metadata
from attokit.precision import Precision, precision_of
from attokit.quant import Graph, QParams, QuantParams, trace
from attokit.quant.graph import Weights
from attokit.tasks import TASKS
from attokit.train import Dataset, TrainConfig
from attokit.train.config import read_config
from attokit.zoo.registry import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder, read.

    Attributes:
      path: The folder.
      model: Name in the zoo's registry.
      overrides: Fields of the model's config that differ from the published one.
      data: As `attokit.datasets.load_dataset` takes it.
      task: Key of `attokit.tasks.TASKS`.
      class_names: In the order of the class ids.
      image_shape: Height, width, channels.
      config: How it was trained.
      start: What it started from: the name of pretrained weights or a path; None for random weights.
      reset_head: Whether the head started anew.
      teacher: What it learned from as well: the name of pretrained weights or a path.
      split: That it was evaluated on.
    """

    path: pathlib.Path
    model: str
    overrides: Mapping[str, Any]
    data: str
    task: Task
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    config: TrainConfig
    start: str | None = None
    reset_head: bool = False
    teacher: str | None = None
    split: str = "test"

    @property
    def weights_path(self) -> pathlib.Path:
        """The float variables."""
        return self.path / "weights.safetensors"

    @property
    def quantized_path(self) -> pathlib.Path:
        """Weights and qparams of the graph."""
        return self.path / "quantized.safetensors"

    @property
    def tflite_path(self) -> pathlib.Path:
        """The file that `attokit export` writes unless told otherwise."""
        return self.path / "model.tflite"

    def network(self) -> nn.Module:
        """Returns the model."""
        return zoo.create(self.model, **self.overrides)

    def example(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of one image."""
        return jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)

    def variables(self) -> dict[str, Any]:
        """Returns the trained float variables.

        Raises:
          ValueError: if the training has not ended, or the file is damaged or another model's.
        """
        self.check_trained()
        like = jax.eval_shape(self.network().init, jax.random.key(0), self.example())
        return load_weights(self.weights_path, like)

    def check_classes(self, dataset: Dataset) -> None:
        """Raises ValueError unless data have the run's classes in the same order: labels would mean others."""
        pairs = itertools.zip_longest(self.class_names, dataset.class_names)
        for index, (own, other) in enumerate(pairs):
            if own != other:
                raise ValueError(
                    f"{self.path} knows {len(self.class_names)} classes, {dataset.name} has "
                    f"{dataset.num_classes}, and number {index} is {own!r} of the run and {other!r} of the "
                    "data: give the data that it was trained on, or others of the same classes"
                )

    def check_trained(self) -> None:
        """Raises ValueError if the training has not ended."""
        if not self.weights_path.exists():
            raise ValueError(
                f"{self.path} has no trained weights: train it to the end "
                "(attokit train ... --resume)"
            )

    def trace(self, variables: PyTree | None = None) -> tuple[Graph, dict[str, Any]]:
        """Returns the graph of the float model and its weights.

        Args:
          variables: Instead of the trained ones, such as with other batch statistics. The graph is the same
            for all: what depends on them are the weights.
        """
        own = self.variables() if variables is None else variables
        return trace(self.network().apply, own, self.example())

    def precision(self) -> Precision:
        """Returns the types that the run was quantized to."""
        self._check_quantized()
        return precision_of(load_metadata(self.quantized_path))

    def quantized(self) -> tuple[Graph, Weights, QParams]:
        """Returns the graph with quantized weights and qparams.

        Raises:
          ValueError: if the run is not quantized yet, or the file is damaged or another model's.
        """
        graph = self.precision().apply(self.trace()[0])
        weights, qparams = load_quantized(self.quantized_path)
        graph.check_arguments(weights, (self.example(),))
        return graph, weights, qparams

    def _check_quantized(self) -> None:
        if not self.quantized_path.exists():
            raise ValueError(
                f"{self.path} is not quantized yet: run attokit quantize {self.path} first"
            )


def describe_run(
    model: str, overrides: Mapping[str, Any], data: str, dataset: Dataset
) -> dict[str, Any]:
    """Returns what `config.json` holds beside the settings of the training."""
    return {
        "model": model,
        "model_overrides": dict(overrides),
        "data": data,
        "task": dataset.task,
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
    }


def open_run(path: pathlib.Path) -> Run:
    """Returns the run in a folder.

    Raises:
      ValueError: if it is no run folder, or its `config.json` is damaged.
    """
    file = path / "config.json"
    if not file.is_file():
        raise ValueError(
            f"{str(path)!r} is no run folder (it has no config.json): give one that attokit train "
            "or quickstart wrote"
        )
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        return Run(
            path=path,
            model=settings["model"],
            overrides={name: _as_tuple(v) for name, v in settings["model_overrides"].items()},
            data=settings["data"],
            task=_known_task(settings.get("task", "classification")),  # there was no other
            class_names=tuple(settings["class_names"]),
            image_shape=tuple(settings["image_shape"]),
            config=read_config(settings["config"]),
            start=settings.get("start"),
            reset_head=settings.get("reset_head", False),
            teacher=settings.get("teacher"),
            split=settings.get("split", "test"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as err:
        raise ValueError(
            f"{file} is damaged or was not written by attokit train: "
            f"{type(err).__name__}: {err}; train again"
        ) from err


def _known_task(task: str) -> Task:
    for known in TASKS:
        if task == known:
            return known
    raise ValueError(f"task {task!r} is none of {', '.join(TASKS)}")


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def save_quantized(
    path: pathlib.Path, weights: Weights, qparams: QParams, metadata: Mapping[str, str]
) -> None:
    """Writes weights and qparams to a safetensors file."""
    numbers = {
        name: {"scale": entry.scale, "zero_point": entry.zero_point}
        | ({} if entry.bits == 8 else {"bits": np.int32(entry.bits)})
        for name, entry in qparams.items()
    }
    save_weights(path, {"weights": dict(weights), "qparams": numbers}, metadata=metadata)


def load_quantized(path: pathlib.Path) -> tuple[Weights, QParams]:
    """Returns weights and qparams as `save_quantized` wrote them.

    Raises:
      ValueError: if the file is missing or damaged.
    """
    weights: dict[str, Any] = {}
    entries: dict[str, dict[str, np.ndarray]] = {}
    for name, array in flatten_tree(load_weights(path)).items():
        kind, _, rest = name.partition("/")
        if kind == "weights":
            weights[rest] = jnp.asarray(array)
        else:
            owner, _, field = rest.rpartition("/")
            entries.setdefault(owner, {})[field] = array
    try:
        qparams = {
            name: QuantParams(
                jnp.asarray(entry["scale"]),
                jnp.asarray(entry["zero_point"]),
                int(entry.get("bits", 8)),
            )
            for name, entry in entries.items()
        }
    except KeyError as err:
        raise ValueError(f"{path} lacks a {err} of qparams: quantize the run again") from err
    return weights, qparams
