"""Instance segmentation: the task of naming boxes with a class and a mask each, with Mask R-CNN."""

import functools
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from jaxtyping import Array

from attokit.train.forward import Forward, flax_forward
from attokit.train.instance_metrics import InstancePrecision
from attokit.train.instances import check_instances
from attokit.train.mask_rcnn import (
    Lesson,
    MaskRCNNTrainConfig,
    Objects,
    learn,
    lesson_losses,
)
from attokit.train.metrics import Mean
from attokit.train.task import Task, unit_images


def instance_segmentation_task(num_classes: int, config: MaskRCNNTrainConfig) -> Task:
    """Returns the task of naming boxes, their classes and their masks.

    Batches hold `images` (uint8 [b, h, w, c]), `boxes`, `box_labels` and `instance_masks` as `train.instances`
    describes them. Training sees the objects too, draws what it learns from, and minimizes the sum of the five
    losses, which it reports one by one; inference sees the images alone and gives what `zoo.mask_rcnn.MaskRCNN`
    does. Evaluation gives the values of `InstancePrecision` and chooses by `mask_ap50`.

    Args:
      num_classes: With the background.
      config: What to learn from; `MaskRCNNTrainConfig.of` has one for every network.

    Raises:
      ValueError: if there is no class beside the background.
    """
    if num_classes < 2:
        raise ValueError(
            f"num_classes={num_classes}: give at least 2 classes, the background is one of them"
        )

    def train_inputs(batch: Mapping[str, Array]) -> dict[str, Any]:
        objects = Objects(batch["boxes"], batch["box_labels"], batch["instance_masks"])
        return {"images": unit_images(batch), "objects": objects}

    def lesson(module: Any, inputs: Mapping[str, Any], key: Array) -> Lesson:
        return learn(module, inputs["images"], inputs["objects"], key, config)

    def forward(network: nn.Module) -> Forward:
        return flax_forward(network, learn=lesson)

    def losses(outputs: Lesson, batch: Mapping[str, Array]) -> Array:
        del batch  # the lesson holds what is to be said
        return sum(lesson_losses(outputs).values())  # type: ignore[return-value]

    def train_metrics(outputs: Lesson, batch: Mapping[str, Array], losses: Array) -> dict:
        del batch, losses  # the mean of the sum the step reports for every task
        return {f"{name}_loss": Mean.of(values) for name, values in lesson_losses(outputs).items()}

    def eval_metrics(outputs: Mapping[str, Array], batch: Mapping[str, Array]) -> dict:
        return {"instance_precision": InstancePrecision.of(outputs, batch, num_classes)}

    return Task(
        name="instance_segmentation",
        check=functools.partial(check_instances, num_classes=num_classes),
        inputs=unit_images,
        train_inputs=train_inputs,
        forward=forward,
        losses=losses,
        train_metrics=train_metrics,
        eval_metrics=eval_metrics,
        best_metric="mask_ap50",
    )
