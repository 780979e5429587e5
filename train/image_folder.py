"""Image folders: one folder per class, the layout that most tools share."""

import pathlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from attokit.train.dataset import Batch, Dataset, RecordSource
from attokit.train.photo import open_upright, with_channels

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"})


def cover(image: Image.Image, height: int, width: int, resampling: Image.Resampling) -> Image.Image:
    """Returns an image resized to cover (height, width), its centre cropped."""
    scale = max(height / image.height, width / image.width)
    size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    if size != image.size:
        image = image.resize(size, resampling)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return image.crop((left, top, left + width, top + height))


def fit_image(image: Image.Image, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """Returns an image resized to cover (height, width), its centre cropped, with 1 or 3 channels."""
    height, width, channels = shape
    image = with_channels(image, channels)
    pixels = np.asarray(cover(image, height, width, Image.Resampling.BILINEAR))
    return pixels.reshape(height, width, channels)


def read_image(path: pathlib.Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """Returns the image of a file, upright, fitted to a shape.

    Raises:
      ValueError: if the file cannot be read as an image.
    """
    return fit_image(open_upright(path), shape)


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders inside one, sorted, without hidden ones (`.ipynb_checkpoints`)."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def is_image(path: pathlib.Path) -> bool:
    """Returns whether a path inside a folder looks like an image; hidden ones (`._1.jpg`) do not."""
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in _SUFFIXES and not hidden


def _list_images(folder: pathlib.Path, class_names: tuple[str, ...]) -> list[tuple]:
    return [
        (path, label)
        for label, name in enumerate(class_names)
        for path in sorted((folder / name).rglob("*"))
        if is_image(path.relative_to(folder))
    ]


def image_folder_source(
    folder: pathlib.Path, class_names: tuple[str, ...], image_shape: tuple[int, int, int]
) -> RecordSource:
    """Returns the images of one split, sorted by class and path."""
    files = _list_images(folder, class_names)

    def read_one(index: int) -> Batch:
        path, label = files[index]
        return {"images": read_image(path, image_shape), "labels": np.array(label, np.int32)}

    return RecordSource(len(files), read_one)


def load_image_folder(
    folder: str | pathlib.Path,
    image_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    every: int = 1,
) -> Dataset:
    """Returns the data set of a folder `SPLIT/CLASS/IMAGE`, such as `train/cat/1.jpg`.

    Classes are the folders of `train`, sorted by name. Images are resized to cover
    `image_shape` and cropped at the centre when they are read. Names that start with a dot are
    skipped.

    Args:
      folder: Where it lies.
      image_shape: Height, width and channels.
      every: Of so many classes the first is taken, for a part of a large set; 1 takes all.

    Raises:
      ValueError: if there is no `train`, a split has other classes, or nothing is an image.
    """
    folder = pathlib.Path(folder)
    if not (folder / "train").is_dir():
        raise ValueError(
            f"no folder train in {folder}: lay the images out as train/CLASS/IMAGE and test/..."
        )
    if image_shape[2] not in (1, 3):
        raise ValueError(f"image shape {image_shape} has {image_shape[2]} channels: give 1 or 3")
    class_names = tuple(p.name for p in _folders(folder / "train"))
    splits = {}
    for split in _folders(folder):
        unknown = {p.name for p in _folders(split)} - set(class_names)
        if unknown:
            raise ValueError(
                f"{split} has classes {', '.join(sorted(unknown))} that {folder / 'train'} lacks: "
                "use the same class folders in every split"
            )
        splits[split.name] = image_folder_source(split, class_names[::every], image_shape)
    class_names = class_names[::every]
    return Dataset(
        name=folder.name, class_names=class_names, image_shape=image_shape, splits=splits
    )
