"""`attokit data`."""

import dataclasses
import pathlib
from typing import Literal

import numpy as np
import tyro
from rich.console import Console

from attokit.datasets import load_dataset
from attokit.export import write
from attokit.samples import sample_sheet
from attokit.train import AugmentConfig, TrainBatches, check_boxes
from attokit.train.instances import check_instances
from attokit.train.segmentation import check_masks
from attokit.zoo.registry import Task

_CHECKS = {
    "segmentation": check_masks,
    "detection": check_boxes,
    "instance_segmentation": check_instances,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Shows what a training is shown: examples of a data set with their labels drawn, as one picture.

    Attributes:
      action: inspect.
      data: As attokit train takes it.
      output: The PNG file to write.
      task: What to read where data have several; their usual one if left out.
      image_size: Height, width and channels for images of any size.
      split: Of which.
      count: Examples, chosen at random.
      seed: Of the choice.
      augment: How they are varied; left out, they are shown as they are.
    """

    action: tyro.conf.Positional[Literal["inspect"]]
    data: tyro.conf.Positional[str]
    output: pathlib.Path = pathlib.Path("samples.png")
    task: Task | None = None
    image_size: tuple[int, int, int] | None = None
    split: str = "train"
    count: int = 24
    seed: int = 0
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        """Refuses what a picture cannot show."""
        if not 1 <= self.count <= 200:
            raise ValueError(f"count is {self.count}: give 1 to 200 examples")
        if self.augment.mixes:
            raise ValueError(
                "mixup and cutmix are part of the step, which no picture shows: set both to 0"
            )


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    dataset = load_dataset(options.data, options.image_size, task=options.task)
    source = dataset.split(options.split)
    count = min(options.count, len(source))
    # The exact pixels of splits to evaluate on cannot be varied, but shown as they are.
    augment = None if options.augment == AugmentConfig() else options.augment
    batches = TrainBatches(source, batch_size=count, steps=1, seed=options.seed, augment=augment)
    batch = batches[0]
    if dataset.task in _CHECKS:
        _CHECKS[dataset.task](batch, dataset.num_classes)
    write(options.output, sample_sheet(dataset, batch))
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items())
    shape = "x".join(map(str, dataset.image_shape))
    console.print(
        f"{dataset.name}: {dataset.task}, {sizes}; images {shape}; {dataset.num_classes} classes: "
        f"{', '.join(dataset.class_names)}",
        highlight=False,
    )
    if "labels" in batch:
        numbers = np.bincount(batch["labels"], minlength=dataset.num_classes)
        text = ", ".join(f"{n} {c}" for n, c in zip(dataset.class_names, numbers, strict=True) if c)
        console.print(f"shown: {text}", highlight=False)
    console.print(f"wrote {options.output}", highlight=False, soft_wrap=True)
