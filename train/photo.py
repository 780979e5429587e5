"""Image files as people see them: upright, 8 bits per channel."""

import pathlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_TWO_BYTES = ("I;16", "I;16B", "I;16L", "I;16N")
_UNBOUNDED = {"I": "integers of 32 bits", "F": "floats"}


def open_upright(path: pathlib.Path) -> Image.Image:
    """Returns the image of a file, turned as its EXIF orientation says that the camera was held.

    Raises:
      ValueError: if the file cannot be read as an image, or as `with_channels` does.
    """
    image = open_stored(path)
    _check(image)  # of a copy nobody knows the file
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow says it in many ways that the block is damaged; the pixels are not
        return image


def open_stored(path: pathlib.Path) -> Image.Image:
    """Returns the image of a file as its pixels are stored, which boxes and masks in files of their own mean.

    Raises:
      ValueError: if the file cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, UnidentifiedImageError) as err:
        raise ValueError(f"cannot read the image {path}: {err}; remove or replace it") from err
    return image


def with_channels(image: Image.Image, channels: int) -> Image.Image:
    """Returns an image in grey (1 channel) or colours (3), of 8 bits; the upper 8 of 16.

    Raises:
      ValueError: if it holds numbers of which nobody says what is white.
    """
    _check(image)
    if image.mode in _TWO_BYTES:
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    return image.convert("L" if channels == 1 else "RGB")


def _check(image: Image.Image) -> None:
    if image.mode in _UNBOUNDED:
        name = getattr(image, "filename", "")
        raise ValueError(
            f"the image {name} holds {_UNBOUNDED[image.mode]}, of which none says what is white: write it with 8 or 16 "
            "bits"
        )
