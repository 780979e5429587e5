"""The tasks of the command line: one table of what differs between them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from flax import linen as nn
from rich.table import Table

from attokit import classification, detection, instance_segmentation, segmentation, zoo
from attokit.detector_metadata import describe_anchors
from attokit.export.anatomy import Inspection
from attokit.export.image_tasks import Kind
from attokit.file_outputs import FileOutputs
from attokit.quant import Graph, Kernels, fake_quant
from attokit.quantization import QuantizedNetwork
from attokit.train import Dataset, FindConfig, Forward
from attokit.zoo.registry import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskView:
    """A task as the command line sees it; how it is trained is a `train.Task`.

    Attributes:
      metric: What the best metric of the task is called in print.
      file_outputs: What a .tflite file of the task gives, in words.
      check_outputs: (model, shapes of its outputs for one image, data) raises ValueError if
        they do not fit each other.
      read_file: Inspection of a file that takes images to how its outputs are read; None if the
        file is not of this task.
      evaluate: (predictor, data, split, batch_size=, **wishes) to metrics by name, numbers and arrays;
        batch_size None lets the task choose.
      evaluate_wishes: Options of attokit evaluate that `evaluate` takes, and `image_size` where images
        of another size than the model's make sense.
      details: (metrics, names of classes) to a table of what is no single number, or None.
      predict: (predictor, paths of images, console, **wishes) tells the user what it sees.
      predict_wishes: Options of attokit predict that `predict` takes.
      app_kind: What apps call it (`export.ImageTask`); None where they know nothing of the kind.
      app_ending: (network, shape of its images) to arguments of `export.to_tflite` with which a file ends
        in what apps show, such as probabilities.
      post_process: (network, shape of its images, which finds are answers) to arguments of `export.to_tflite`
        with which a file chooses boxes itself; None where there are none to choose.
      sized_by_model: Whether images are fitted to the model's own size unless another is asked for, rather
        than the model to theirs.
      file_metadata: (network, shape of its images) to what its .tflite file tells beside the network, by
        the name of the entry.
      quantized_network: (graph, kernels, network) to the graph in integers as training takes it.
    """

    metric: str
    file_outputs: str
    check_outputs: Callable[[str, Any, Dataset], None]
    read_file: Callable[[Inspection], FileOutputs | None]
    evaluate: Callable[..., dict[str, float | np.ndarray]]
    evaluate_wishes: frozenset[str]
    details: Callable[[Mapping[str, float | np.ndarray], Sequence[str]], Table | None]
    predict: Callable[..., None]
    predict_wishes: frozenset[str]
    app_kind: Kind | None
    app_ending: Callable[[nn.Module, tuple[int, int, int]], Mapping[str, Any]]
    post_process: (
        Callable[[nn.Module, tuple[int, int, int], FindConfig], Mapping[str, Any]] | None
    ) = None
    sized_by_model: bool = False
    file_metadata: Callable[[nn.Module, tuple[int, int, int]], Mapping[str, str]] = (
        lambda network, image_shape: {}
    )
    quantized_network: Callable[[Graph, Kernels, nn.Module], Forward] = (
        lambda graph, kernels, network: QuantizedNetwork(fake_quant(graph, kernels))
    )


TASKS: Mapping[Task, TaskView] = MappingProxyType(
    {
        "classification": TaskView(
            metric="accuracy",
            file_outputs="one row of logits per image",
            check_outputs=classification.check_outputs,
            read_file=classification.read_file,
            evaluate=classification.evaluate,
            evaluate_wishes=frozenset(),
            details=classification.details,
            predict=classification.predict,
            predict_wishes=frozenset({"top"}),
            app_kind="classifier",
            app_ending=lambda network, image_shape: {"probabilities": True},
        ),
        "segmentation": TaskView(
            metric="mean IoU",
            file_outputs="logits or class ids of pixels, at the size of the image or a whole part",
            check_outputs=segmentation.check_outputs,
            read_file=segmentation.read_file,
            evaluate=segmentation.evaluate,
            evaluate_wishes=frozenset({"scales", "flip", "window", "image_size"}),
            details=segmentation.details,
            predict=segmentation.predict,
            predict_wishes=frozenset({"output"}),
            app_kind="segmenter",
            app_ending=lambda network, image_shape: {},
        ),
        "detection": TaskView(
            metric="AP@0.5",
            file_outputs="boxes and scores of prior boxes, which its metadata tells",
            check_outputs=detection.check_outputs,
            read_file=detection.read_file,
            evaluate=detection.evaluate,
            evaluate_wishes=frozenset(),
            details=detection.details,
            predict=detection.predict,
            predict_wishes=frozenset({"output", "score"}),
            app_kind="detector",
            app_ending=detection.app_ending,
            post_process=detection.post_process,
            sized_by_model=True,
            file_metadata=describe_anchors,
        ),
        "instance_segmentation": TaskView(
            metric="mask AP@0.5",
            file_outputs="boxes, classes, scores and masks of what is found, or the trunk of three files",
            check_outputs=instance_segmentation.check_outputs,
            read_file=instance_segmentation.read_file,
            evaluate=instance_segmentation.evaluate,
            evaluate_wishes=frozenset(),
            details=instance_segmentation.details,
            predict=instance_segmentation.predict,
            predict_wishes=frozenset({"output", "score"}),
            app_kind=None,
            app_ending=lambda network, image_shape: {},
            sized_by_model=True,
            file_metadata=instance_segmentation.describe_classes,
            quantized_network=instance_segmentation.quantized_network,
        ),
    }
)


def view_of(task: str) -> TaskView:
    """Returns the row of a task.

    Raises:
      ValueError: if there is none.
    """
    for known, view in TASKS.items():
        if known == task:
            return view
    raise ValueError(
        f"the command line does not do {task}, only {', '.join(TASKS)}: choose another model or file"
    )


def chosen_wishes(
    options: Any, task: Task, wishes: Callable[[TaskView], frozenset[str]]
) -> dict[str, Any]:
    """Returns the options of a command that are wishes of some task, and were given.

    Args:
      options: Of the command; what was not given is None or False.
      task: Of the predictor.
      wishes: Which ones a task takes.

    Raises:
      ValueError: if the task has no use for one of them.
    """
    names = frozenset[str]().union(*map(wishes, TASKS.values()))
    values = {name: getattr(options, name) for name in sorted(names)}
    given = {n: value for n, value in values.items() if value is not None and value is not False}
    if unused := sorted(given.keys() - wishes(view_of(task))):
        flags = ", ".join(f"--{name}" for name in unused).replace("_", "-")
        raise ValueError(f"{flags} changes nothing in {task}: leave it out")
    return given


def check_same_task(model: str, dataset: Dataset) -> None:
    """Raises ValueError unless a model of the zoo does what the data are for."""
    task = zoo.task(model)
    if task != dataset.task:
        raise ValueError(
            f"{model} does {task}, {dataset.name} is data for {dataset.task}: choose other data, or "
            f"one of {', '.join(zoo.names(task=dataset.task)) or 'no model yet'}"
        )
