"""Data sets: sources of batches by index, and the description that travels with them.

A batch is a dict of arrays with one leading axis of examples. Classification uses `images`
(uint8, NHWC) and `labels` (int32), segmentation `images` and `masks` (uint8 [b, h, w] of class ids,
`IGNORE` where there is none), detection `images`, `boxes` and `box_labels` (see
`train.padded_boxes`), instance segmentation also `instance_masks` (see `train.instances`); other tasks add their own names. Images stay bytes until they are on
the device: the jitted step divides by 255 there, which moves a quarter of the bytes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, get_args

import numpy as np

Batch = dict[str, np.ndarray]
DataTask = Literal["classification", "segmentation", "detection", "instance_segmentation"]

IGNORE = 255
"""What a mask holds where a pixel has no class: it is neither learned nor counted."""


class Source(Protocol):
    """Examples that can be read by index, many at a time."""

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def read(self, indices: np.ndarray) -> Batch:
        """Returns the examples at `indices`, stacked, in that order."""
        ...


class ArraySource:
    """Examples that lie in memory: a dict of arrays with one common leading axis."""

    def __init__(self, **arrays: np.ndarray):
        lengths = {name: len(array) for name, array in arrays.items()}
        if not arrays or len(set(lengths.values())) != 1:
            raise ValueError(
                f"the arrays of a source need one common length, got {lengths}: "
                "give one row per example in each of them"
            )
        self._arrays = dict(arrays)
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        """Returns the number of examples."""
        return self._length

    def read(self, indices: np.ndarray) -> Batch:
        """Returns the rows at `indices`, copied."""
        return {name: array[indices] for name, array in self._arrays.items()}


class RecordSource:
    """Examples that are read one by one, such as files or records of an archive."""

    def __init__(self, length: int, read_one: Callable[[int], Batch]):
        self._length = length
        self._read_one = read_one

    def __len__(self) -> int:
        """Returns the number of examples."""
        return self._length

    def read(self, indices: np.ndarray) -> Batch:
        """Returns the examples at `indices`, read one after the other and stacked."""
        records = [self._read_one(int(index)) for index in indices]
        return {name: np.stack([record[name] for record in records]) for name in records[0]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named set of examples with its splits.

    Attributes:
      name: What logs and reports call it.
      class_names: One per class, in the order of the label ids; where there are boxes, the first is
        the background.
      image_shape: Height, width and channels of every image.
      splits: Sources by name; training reads `train`, evaluation `test` unless told otherwise.
      task: What the batches are for: `labels`, `masks`, `boxes`, or boxes with `instance_masks`.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    splits: Mapping[str, Source]
    task: DataTask = "classification"

    def __post_init__(self) -> None:
        """Refuses sets without classes, with more than a mask can name or with an empty split."""
        if not self.class_names:
            raise ValueError(f"data set {self.name!r} has no classes: name at least one")
        if self.task not in get_args(DataTask):
            raise ValueError(
                f"task is {self.task!r}: choose one of {', '.join(get_args(DataTask))}"
            )
        if self.task in ("detection", "instance_segmentation") and self.num_classes < 2:
            raise ValueError(
                f"data set {self.name!r} for {self.task} has only {self.class_names[0]!r}: name the "
                "background first, then what is to be found"
            )
        if self.task == "segmentation" and self.num_classes > IGNORE:
            raise ValueError(
                f"data set {self.name!r} has {self.num_classes} classes, but masks are bytes and "
                f"{IGNORE} means no class: merge classes until {IGNORE} are left"
            )
        empty = [name for name, source in self.splits.items() if len(source) == 0]
        if empty or not self.splits:
            raise ValueError(
                f"data set {self.name!r} has no examples in split {', '.join(empty) or 'any'}: "
                "check the folder or the split's name"
            )

    @property
    def num_classes(self) -> int:
        """The number of label ids."""
        return len(self.class_names)

    def usual_split(self, name: str) -> str:
        """Returns a split's name if the set has it, else "test"."""
        return name if name in self.splits else "test"

    def split(self, name: str) -> Source:
        """Returns the source of one split.

        Raises:
          ValueError: if the set has no such split.
        """
        if name not in self.splits:
            raise ValueError(
                f"data set {self.name!r} has no split {name!r}: choose one of "
                f"{', '.join(sorted(self.splits))}"
            )
        return self.splits[name]
