"""Data sets by the text that the command line takes."""

import pathlib
import re

from attokit.train import (
    Dataset,
    is_coco,
    is_detection_folder,
    is_segmentation_folder,
    load_detection_folder,
    load_fashion_mnist,
    load_fashion_mnist_subset,
    load_image_folder,
    load_instance_folder,
    load_scenes,
    load_segmentation_folder,
    load_tfds,
    load_visual_wake_words,
    load_wake_scenes,
)
from attokit.zoo.registry import Task

EMBEDDED = "fashion_mnist_subset"
SCENES = "scenes"
_SCENES_OF = "scenes:"
_WAKE_SCENES = "wake_scenes:"
_TFDS = "tfds:"
# What may stand before a folder: the forms that read it otherwise.
_PREFIX = re.compile(rf"{_SCENES_OF}|{_WAKE_SCENES}[^:]*:?|every[1-9][0-9]*:(?=.)|")


def load_dataset(
    data: str, image_shape: tuple[int, int, int] | None = None, *, task: Task | None = None
) -> Dataset:
    """Returns a data set.

    Args:
      data: `fashion_mnist_subset` or `scenes` (both embedded), `scenes:FOLDER` (the training scenes
        show the garments of Fashion-MNIST's IDX files), `wake_scenes:GARMENT` or
        `wake_scenes:GARMENT:FOLDER` (whether it is there), `tfds:NAME`, a folder with the four IDX
        files of Fashion-MNIST, a folder of images and masks as `load_segmentation_folder` knows
        them, one of images and boxes as `load_detection_folder` does (COCO's is visual wake words for
        classification; its masks and VOC's are those of `load_instance_folder`), an image folder laid out as
        `train/CLASS/IMAGE` and `test/CLASS/IMAGE`, or `every20:FOLDER` (the first of each 20 of its classes).
      image_shape: Height, width and channels that images are fitted to; Fashion-MNIST has 1 channel. None
        for 224, 224, 3, or the 128, 128, 3 of scenes, or Fashion-MNIST's 28, 28, 1.
      task: What to read where data have several: None for the class maps of scenes, and for the labels of a set
        of TFDS that has masks or boxes too.

    Raises:
      ValueError: if there is no such data, it is damaged, or its images have another shape.
    """
    if image_shape is not None and min(image_shape) < 1:
        raise ValueError(f"image_size is {image_shape}: give at least 1 of each")
    dataset = _load(data, image_shape, task)
    if image_shape is not None and dataset.image_shape != image_shape:
        height, width, channels = dataset.image_shape
        raise ValueError(
            f"the images of {data} have {channels} channel{'s' * (channels > 1)} and are {dataset.image_shape}, "
            f"not {image_shape}: height, width and channels must be those of the model (for a model of these "
            f"images give --image-size {height} {width} {channels})"
        )
    return dataset


def _load(data: str, image_shape: tuple[int, int, int] | None, task: Task | None) -> Dataset:
    size = (28, 28) if image_shape is None else image_shape[:2]
    if data == EMBEDDED:
        return load_fashion_mnist_subset(size)
    if data == SCENES or data.startswith(_SCENES_OF):
        height, width, channels = image_shape or (128, 128, 3)
        return load_scenes(
            (height, width),
            task="segmentation" if task is None or task == "classification" else task,
            channels=channels,
            folder=_parts(data)[1],
        )
    if data.startswith(_WAKE_SCENES):
        wake, wake_folder = _parts(data)
        garment = wake.removeprefix(_WAKE_SCENES).removesuffix(":")
        size = (96, 96) if image_shape is None else image_shape[:2]
        return load_wake_scenes(garment, size, folder=wake_folder)
    shape = image_shape or (224, 224, 3)
    if data.startswith(_TFDS):
        return load_tfds(data.removeprefix(_TFDS), shape, task=task)
    before, _ = _parts(data)
    folder = pathlib.Path(data.removeprefix(before))
    if before:  # every20:
        every = int(before.removeprefix("every").removesuffix(":"))
        return load_image_folder(folder, shape, every=every)
    if not folder.is_dir():
        raise ValueError(
            f"no data {data!r}: give {EMBEDDED}, {SCENES}, {_WAKE_SCENES}GARMENT, {_TFDS}NAME, an existing folder of IDX "
            "files, of images, of images and masks, or of images and boxes, or every20:FOLDER of a folder of images"
        )
    if any(folder.glob("*-ubyte*")):
        return load_fashion_mnist(folder, size)
    if task == "classification" and is_coco(folder):
        return load_visual_wake_words(folder, shape)
    if task == "instance_segmentation":
        return load_instance_folder(folder, shape)
    # PASCAL VOC has boxes of all images and masks of some.
    if is_detection_folder(folder) and (task == "detection" or not is_segmentation_folder(folder)):
        return load_detection_folder(folder, shape)
    if is_segmentation_folder(folder):
        return load_segmentation_folder(folder, shape)
    return load_image_folder(folder, shape)


def canonical(data: str) -> str:
    """Returns the text that means the same data from any working directory."""
    before, folder = _parts(data)
    return before if folder is None else before + _absolute(folder)


def portable(data: str) -> str | None:
    """Returns the text if it means the same data on any machine, or None if it names a folder."""
    before, folder = _parts(data)
    return before if folder is None else None


def without_folder(data: str, placeholder: str = "FOLDER") -> str:
    """Returns the text with a word instead of the folder that it names, or as it is if it names none."""
    before, folder = _parts(data)
    return before if folder is None else before + placeholder


def _parts(data: str) -> tuple[str, str | None]:
    """Returns what stands before the folder that a text names, and the folder; None if it names none."""
    if data in (EMBEDDED, SCENES) or data.startswith(_TFDS):
        return data, None
    prefix = _PREFIX.match(data)
    assert prefix is not None  # it may be empty
    before, folder = data[: prefix.end()], data[prefix.end() :]
    return (before.removesuffix(":"), None) if before and not folder else (before, folder)


def _absolute(folder: str) -> str:
    return str(pathlib.Path(folder).absolute())
