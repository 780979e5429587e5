"""A task: what the loop must know about a problem, as a name and four functions.

The loop itself knows neither images nor labels, so one loop trains every kind of network.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from attokit.train.forward import Forward, flax_forward
from attokit.train.losses import softmax_cross_entropy
from attokit.train.metrics import CalibrationError, Confusion, Mean, Metric, top_k_accuracy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The functions that turn a network and batches into numbers.

    Attributes:
      name: What the problem is called, as in `Dataset.task`.
      inputs: Batch to what the network takes in inference. Runs on the device, inside the jitted step.
      losses: (outputs of training, batch) to one loss per example.
      train_metrics: (outputs, batch, losses) to metrics; cheap, computed in every
        step, which adds `loss` itself.
      eval_metrics: (outputs of inference, batch) to metrics; the batch has a `mask`.
      best_metric: The evaluation metric by which the best checkpoint is chosen.
      larger_is_better: Its direction.
      train_inputs: Batch to what the network takes in training, where that is more than `inputs`, such as
        the objects that a two-stage detector draws its regions from; None where it is the same.
      forward: How a Linen module is called for it.
      check: Refuses a batch that the task cannot mean, with a ValueError. Runs on the host, before
        the batch goes to the devices, which raise nothing.
    """

    name: str
    inputs: Callable[[Mapping[str, Array]], PyTree]
    losses: Callable[[Any, Mapping[str, Array]], Float[Array, " b"]]
    train_metrics: Callable[[Any, Mapping[str, Array], Array], dict[str, Metric]]
    eval_metrics: Callable[[Any, Mapping[str, Array]], dict[str, Metric]]
    best_metric: str
    larger_is_better: bool = True
    train_inputs: Callable[[Mapping[str, Array]], PyTree] | None = None
    forward: Callable[[nn.Module], Forward] = flax_forward
    check: Callable[[Mapping[str, np.ndarray]], None] = lambda batch: None


def unit_images(batch: Mapping[str, Array]) -> Float[Array, "b h w c"]:
    """Returns the images as floats in [0, 1], byte / 255: the input contract of all models."""
    return batch["images"].astype(jnp.float32) / 255


def check_labels(batch: Mapping[str, np.ndarray], *, num_classes: int | None = None) -> None:
    """Refuses labels that are no class.

    Args:
      batch: Holds `labels`, integers from 0 on.
      num_classes: How many classes there are; None if nobody knows.

    Raises:
      ValueError: if a label is no integer, is negative, or has no class.
    """
    labels = np.asarray(batch["labels"])
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are {labels.dtype}: give integers, which count the classes from 0 on"
        )
    least, most = labels.min(initial=0), labels.max(initial=0)
    if least < 0:
        raise ValueError(
            f"the data have a label {least}: labels count the classes from 0 on; where labels are not "
            "published, as of many test splits, choose another split"
        )
    if num_classes is not None and most >= num_classes:
        raise ValueError(
            f"the data have a label {most}, there are {num_classes} classes: labels go from 0 to "
            f"{num_classes - 1}; give the data that belong to these classes"
        )


def classification_task(*, label_smoothing: float = 0.0, num_classes: int | None = None) -> Task:
    """Returns the task of naming one class per image.

    Batches hold `images` (uint8) and `labels` (int32); outputs are logits [b, k]. Smoothing
    applies to the training loss; evaluation reports the plain cross entropy. Labels are held to
    `num_classes` where it is given.
    """

    def losses(logits: Array, batch: Mapping[str, Array]) -> Array:
        return softmax_cross_entropy(logits, batch["labels"], label_smoothing=label_smoothing)

    def train_metrics(logits: Array, batch: Mapping[str, Array], losses: Array) -> dict:
        del losses  # their mean the step reports for every task
        return {"accuracy": top_k_accuracy(logits, batch["labels"], 1)}

    def eval_metrics(logits: Array, batch: Mapping[str, Array]) -> dict:
        labels, mask = batch["labels"], batch["mask"]
        return {
            # The plain cross entropy: the smoothed one is for training.
            "loss": Mean.of(softmax_cross_entropy(logits, labels), mask),
            "accuracy": top_k_accuracy(logits, labels, 1, mask),
            "top5_accuracy": top_k_accuracy(logits, labels, 5, mask),
            "calibration_error": CalibrationError.of(logits, labels, mask),
            "confusion": Confusion.of(logits, labels, mask),
        }

    return Task(
        name="classification",
        inputs=unit_images,
        losses=losses,
        train_metrics=train_metrics,
        eval_metrics=eval_metrics,
        best_metric="accuracy",
        check=functools.partial(check_labels, num_classes=num_classes),
    )
