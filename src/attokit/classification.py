"""Classification on the command line: logits [b, k], accuracy, a table of the likeliest classes."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from attokit.export.anatomy import Inspection
from attokit.figures import sigmoid, softmax
from attokit.file_outputs import FileOutputs, scores_in
from attokit.measuring import measure
from attokit.predictor import Predictor
from attokit.train import Dataset, Source, classification_task, read_image

BATCH_SIZE = 250
_TOP = 3


def check_outputs(model: str, outputs: Any, dataset: Dataset) -> None:
    """Raises ValueError unless a model's outputs for one image are a logit per class."""
    if getattr(outputs, "shape", None) != (1, dataset.num_classes):
        found = getattr(outputs, "shape", (1, "several arrays"))[1:]
        raise ValueError(
            f"{model} gives logits of shape {found}, {dataset.name} has {dataset.num_classes} "
            f"classes: set num_classes={dataset.num_classes}"
        )


def read_file(info: Inspection) -> FileOutputs | None:
    """Returns how to read a classifier's file; None if it is none by its outputs' shapes.

    [1, k], or [1, 1, 1, k] of a classifier that ends in a convolution.
    """
    if len(info.outputs) != 1:
        return None
    (tensor,) = info.outputs.values()
    if len(tensor.shape) < 2 or math.prod(tensor.shape[1:]) != tensor.shape[-1]:
        return None
    if len(tensor.shape) not in (2, 4):
        return None
    scores = scores_in(info)
    if scores is None:
        return None
    decode, classes = scores.decode, scores.num_classes
    return dataclasses.replace(scores, decode=lambda outputs: decode(outputs).reshape(-1, classes))


def evaluate(
    predictor: Predictor, dataset: Dataset, source: Source, *, batch_size: int | None = None
) -> dict[str, float | np.ndarray]:
    """Returns the metrics that training reports: accuracy, top-5, calibration error, confusion.

    Where every class has a score of its own, loss and calibration error, which are of one probability shared among the
    classes, are left out.

    Raises:
      ValueError: if a label has no logit.
    """
    del dataset  # labels are checked one by one: a network may know further classes

    def checked(logits: np.ndarray, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        if batch["labels"].max() >= logits.shape[1]:
            raise ValueError(
                f"{predictor.name} has {logits.shape[1]} classes, the data has label "
                f"{batch['labels'].max()}: give the data that it was trained on"
            )
        return logits

    task, size = classification_task(), batch_size or BATCH_SIZE
    metrics = measure(
        predictor, source, task.eval_metrics, check=task.check, batch_size=size, prepare=checked
    )
    shared = ("loss", "calibration_error") if predictor.separate else ()
    return {name: value for name, value in metrics.items() if name not in shared}


def details(metrics: Mapping[str, float | np.ndarray], class_names: Sequence[str]) -> Table | None:
    """Returns nothing: the numbers say it all."""
    del metrics, class_names
    return None


def predict(
    predictor: Predictor,
    images: Sequence[pathlib.Path],
    console: Console,
    *,
    top: int | None = None,
) -> None:
    """Prints the likeliest classes of images.

    Raises:
      ValueError: if a file cannot be read as an image.
    """
    pixels = np.stack([read_image(image, predictor.image_shape) for image in images])
    shares = (sigmoid if predictor.separate else softmax)(predictor.outputs(pixels))
    table = Table("image", "class", "probability", title=predictor.name)
    for image, row in zip(images, shares, strict=True):
        for rank, index in enumerate(np.argsort(-row, kind="stable")[: top or _TOP]):
            name = predictor.class_name(int(index))
            table.add_row("" if rank else str(image), name, f"{100 * row[index]:.1f} %")
    console.print(table)
