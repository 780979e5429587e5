"""Folders of images and masks, in the layouts that data sets have."""

import pathlib

import numpy as np

from attokit.train.dataset import IGNORE, Batch, Dataset, RecordSource
from attokit.train.mask_image import Color, Meaning, has_colors, plain_ids, read_pair
from attokit.train.segmentation_layouts import LAYOUTS, Layout, find_layout

_NAME_FILES = ("classes.txt", "labels.txt")
_COLOR_FILE = "label_colors.txt"
_VOID_NAMES = frozenset({"void", "unlabelled", "unlabeled", "ignore"})
# Enough to tell a mask of 0 and 255 from one whose border alone is 255.
_PROBED_MASKS = 8

Pairs = list[tuple[pathlib.Path, pathlib.Path]]


def is_segmentation_folder(folder: str | pathlib.Path) -> bool:
    """Returns whether `load_segmentation_folder` knows the layout of a folder."""
    return find_layout(pathlib.Path(folder)) is not None


def read_label_colors(path: pathlib.Path) -> tuple[tuple[str, ...], dict[Color, int]]:
    """Returns class names and the class of each colour from lines `R G B name`.

    A class named void, unlabelled or ignore is none: its pixels are left out.

    Raises:
      ValueError: if a line is of another form, or two have one colour.
    """
    names: list[str] = []
    meaning: dict[Color, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        *numbers, name = line.split(maxsplit=3)
        if len(numbers) != 3 or not all(n.isdecimal() and int(n) < 256 for n in numbers):
            raise ValueError(
                f"line {number} of {path} is {line!r}: write three numbers from 0 to 255 and the "
                "name of the class, such as '128 64 128 road'"
            )
        color = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
        if color in meaning:
            raise ValueError(
                f"line {number} of {path} gives the colour {color} again: one colour is one class"
            )
        void = name.strip().lower() in _VOID_NAMES
        meaning[color] = IGNORE if void else len(names)
        names += [] if void else [name.strip()]
    return tuple(names), meaning


def _classes(folder: pathlib.Path, layout: Layout) -> tuple[tuple[str, ...], Meaning]:
    """Returns class names and the meaning of masks: from a file of the folder, or its layout."""
    files = [folder / n for n in (*_NAME_FILES, _COLOR_FILE) if (folder / n).is_file()]
    if len(files) > 1:
        raise ValueError(
            f"{folder} names its classes in {' and '.join(f.name for f in files)}: keep one of them"
        )
    if files and files[0].name == _COLOR_FILE:
        return read_label_colors(files[0])
    if files:
        lines = files[0].read_text(encoding="utf-8").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
        return names, plain_ids(len(names))
    if layout.class_names is None:
        raise ValueError(
            f"{folder} does not name its classes: write {_NAME_FILES[0]} into it, one name per line "
            f"in the order of the ids in the masks (or {_COLOR_FILE}, with lines 'R G B name', if "
            "the masks are colours)"
        )
    return layout.class_names, layout.meaning or plain_ids(len(layout.class_names))


def _pairs(folder: pathlib.Path, layout: Layout) -> dict[str, Pairs]:
    """Returns the image and mask files of each split; all of them are there."""
    splits = {
        split: [(image, folder / layout.mask.format(split=split, key=key)) for image, key in frames]
        for split, frames in layout.frames(folder).items()
    }
    files = [path for pairs in splits.values() for pair in pairs for path in pair]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} files are missing from {folder}, such as {', '.join(missing[:3])}: "
            f"every image needs its mask ({layout.shape})"
        )
    return splits


def _refuse_black_and_white(pairs: Pairs, image_shape: tuple[int, int, int]) -> None:
    """Raises ValueError if masks of two classes hold 0 and 255, which would never be learned."""
    meaning = plain_ids(2)
    masks = [read_pair(*pair, image_shape, meaning)["masks"] for pair in pairs[:_PROBED_MASKS]]
    values = set(np.unique(np.stack(masks)).tolist())
    if values == {0, IGNORE}:
        raise ValueError(
            f"the masks of two classes hold 0 and 255 only, such as {pairs[0][1]}, but 255 means no "
            "class: write 1 for the second class"
        )


def segmentation_source(
    pairs: Pairs, image_shape: tuple[int, int, int], meaning: Meaning
) -> RecordSource:
    """Returns the examples of image and mask files."""

    def read_one(index: int) -> Batch:
        return read_pair(*pairs[index], image_shape, meaning)

    return RecordSource(len(pairs), read_one)


def load_segmentation_folder(
    folder: str | pathlib.Path, image_shape: tuple[int, int, int] = (256, 256, 3)
) -> Dataset:
    """Returns the data set of a folder of images and masks.

    Layouts: `SPLIT/images` with `SPLIT/masks`, CamVid (both forms), PASCAL VOC, Cityscapes; see
    docs/segmentation.md. Class names come from `classes.txt` or `labels.txt` (one per line), from
    `label_colors.txt` (lines `R G B name`, for masks that are colours) or from the layout. Images
    are resized to cover `image_shape` and cropped at the centre when they are read, masks in the same
    way to the nearest pixel. A split without a folder of masks is not labelled, and left out.

    Raises:
      ValueError: if the layout is none of these, a file is missing or names no class. When an example
        is read: if its mask has another size than its image, or holds what stands for no class.
    """
    folder = pathlib.Path(folder)
    layout = find_layout(folder)
    if layout is None:
        shapes = "; ".join(layout.shape for layout in LAYOUTS.values())
        raise ValueError(
            f"{folder} is no folder of images and masks: lay it out as one of {shapes}"
        )
    if image_shape[2] not in (1, 3):
        raise ValueError(f"image shape {image_shape} has {image_shape[2]} channels: give 1 or 3")
    class_names, meaning = _classes(folder, layout)
    pairs = _pairs(folder, layout)
    if len(class_names) == 2 and not has_colors(meaning) and pairs.get("train"):
        _refuse_black_and_white(pairs["train"], image_shape)
    return Dataset(
        name=folder.name,
        class_names=class_names,
        image_shape=image_shape,
        splits={s: segmentation_source(p, image_shape, meaning) for s, p in pairs.items()},
        task="segmentation",
    )
