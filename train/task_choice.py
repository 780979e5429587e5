"""The task that a data set is for."""

from typing import Any

from attokit.train.anchors import network_anchors
from attokit.train.config import TrainConfig
from attokit.train.dataset import Dataset
from attokit.train.detection import detection_task
from attokit.train.instance_segmentation import instance_segmentation_task
from attokit.train.mask_rcnn import MaskRCNNTrainConfig
from attokit.train.segmentation import segmentation_task
from attokit.train.task import Task, classification_task
from attokit.zoo.mask_rcnn import MaskRCNNConfig

_OF_ONE_CLASS = {
    "classification": "names one class per image, not per pixel",
    "detection": "names one class per box, not per pixel",
    "instance_segmentation": "names one class per box, not per pixel",
}


def task_for(dataset: Dataset, config: TrainConfig, network: Any = None) -> Task:
    """Returns the task of a data set with the settings of a run.

    Args:
      dataset: Whose `task` it is.
      config: The settings.
      network: A model of the zoo, whose anchors or sizes tasks with boxes need; of no matter for others.

    Raises:
      ValueError: if a setting is for another task, or does not fit the classes, or if a task with
        boxes has no network that does it, or masks one of other classes.
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
        return classification_task(
            label_smoothing=config.label_smoothing, num_classes=dataset.num_classes
        )
    if config.label_smoothing:
        raise ValueError(
            f"label_smoothing is {config.label_smoothing}, but the loss of boxes has no smoothed form: "
            "set it to 0"
        )
    if dataset.task == "instance_segmentation":
        settings = getattr(network, "config", None)
        if not isinstance(settings, MaskRCNNConfig):
            raise ValueError(
                f"{dataset.name} is data for instance segmentation, and {type(network).__name__} is no Mask "
                "R-CNN: give one of the zoo, or the task itself (instance_segmentation_task)"
            )
        if settings.num_classes != dataset.num_classes:
            raise ValueError(
                f"the network has {settings.num_classes} classes with the background, {dataset.name} has "
                f"{dataset.num_classes}: leave num_classes out, or give the data that it was made for"
            )
        return instance_segmentation_task(dataset.num_classes, MaskRCNNTrainConfig.of(settings))
    anchors = network_anchors(network, dataset.image_shape[:2])
    if anchors is None:
        raise ValueError(
            f"{dataset.name} is data for detection, and {type(network).__name__} has no anchors: give a "
            "detector of the zoo, or the task itself (detection_task)"
        )
    return detection_task(dataset.num_classes, anchors)
