"""The task that a data set is for."""

from attokit.train.config import TrainConfig
from attokit.train.dataset import Dataset
from attokit.train.segmentation import segmentation_task
from attokit.train.task import Task, classification_task


def task_for(dataset: Dataset, config: TrainConfig) -> Task:
    """Returns the task of a data set with the settings of a run.

    Raises:
      ValueError: if a setting is for another task, or does not fit the classes.
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
                f"{name} is {value!r}, but {dataset.name} names one class per image, not per pixel: "
                "leave it out"
            )
    return classification_task(label_smoothing=config.label_smoothing)
