"""The task that a data set is for."""

from typing import Any

from attokit.train.anchors import network_anchors
from attokit.train.config import TrainConfig
from attokit.train.dataset import Dataset
from attokit.train.detection import detection_task
from attokit.train.segmentation import segmentation_task
from attokit.train.task import Task, classification_task

_OF_ONE_CLASS = {
    "classification": "names one class per image, not per pixel",
    "detection": "names one class per box, not per pixel",
}


def task_for(dataset: Dataset, config: TrainConfig, network: Any = None) -> Task:
    """Returns the task of a data set with the settings of a run.

    Args:
      dataset: Whose `task` it is.
      config: The settings.
      network: A model of the zoo, whose anchors detection needs; of no matter for other tasks.

    Raises:
      ValueError: if a setting is for another task, or does not fit the classes, or if detection has
        no network with anchors.
    """
    if dataset.task == "segmentation":
        return segmentation_task(
            dataset.num_classes,
            loss=config.loss or "cross_entropy",
            label_smoothing=config.label_smoothing,
            class_weights=config.class_weights,
        )
    for name in ("loss", "class_weights"):
        value = getattr(config, name)
        if value is not None:
            raise ValueError(
                f"{name} is {value!r}, but {dataset.name} {_OF_ONE_CLASS[dataset.task]}: leave it out"
            )
    if dataset.task == "classification":
        return classification_task(label_smoothing=config.label_smoothing)
    if config.label_smoothing:
        raise ValueError(
            f"label_smoothing is {config.label_smoothing}, but the loss of boxes has no smoothed form: "
            "set it to 0"
        )
    anchors = network_anchors(network, dataset.image_shape[:2])
    if anchors is None:
        raise ValueError(
            f"{dataset.name} is data for detection, and {type(network).__name__} has no anchors: give a "
            "detector of the zoo, or the task itself (detection_task)"
        )
    return detection_task(dataset.num_classes, anchors)
