"""Masks in files: one class per pixel, written as ids or as colours."""

import functools
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from attokit.train.dataset import IGNORE, Batch
from attokit.train.image_folder import cover, fit_image
from attokit.train.photo import open_stored

Color = tuple[int, int, int]
Meaning = Mapping[int, int] | Mapping[Color, int]
"""What each id, or each colour, of a mask stands for: a class, or `IGNORE`."""

_ID_MODES = ("1", "L", "P", "I", "I;16")
_UNKNOWN = -1


def plain_ids(num_classes: int) -> dict[int, int]:
    """Returns the meaning of masks that hold class ids and `IGNORE`."""
    return {i: i for i in range(num_classes)} | {IGNORE: IGNORE}


def has_colors(meaning: Meaning) -> bool:
    """Returns whether masks are read as colours, not as ids."""
    return isinstance(next(iter(meaning)), tuple)


def _packed(color: Color) -> int:
    return (color[0] << 16) | (color[1] << 8) | color[2]


@functools.lru_cache(maxsize=4)
def _table(entries: tuple[tuple[int, int], ...], size: int) -> Int[np.ndarray, " n"]:
    """Returns the class of every possible value of a pixel, `_UNKNOWN` for most."""
    table = np.full(size, _UNKNOWN, np.int16)
    for value, meaning in entries:
        table[value] = meaning
    return table


def _describe(values: Int[np.ndarray, " n"], colored: bool) -> str:
    """Returns the first few values that stand for nothing."""
    shown = [str((v >> 16, v >> 8 & 255, v & 255) if colored else v) for v in values[:5].tolist()]
    return ", ".join(shown) + (f" and {len(values) - 5} more" if len(values) > 5 else "")


def decode_mask(mask: Image.Image, meaning: Meaning, source: object) -> UInt8[np.ndarray, "h w"]:
    """Returns the class of each pixel, `IGNORE` where there is none.

    Args:
      mask: Ids in a grey or palette image, whose colours then say nothing; or colours.
      meaning: What they stand for.
      source: What errors call the mask, such as its path.

    Raises:
      ValueError: if it is a colour image where ids are expected, or holds what stands for nothing.
    """
    colored = has_colors(meaning)
    if colored:
        red, green, blue = np.moveaxis(np.asarray(mask.convert("RGB"), np.int32), -1, 0)
        values = (red << 16) | (green << 8) | blue
        entries = tuple((_packed(color), c) for color, c in meaning.items())  # type: ignore[arg-type]
    elif mask.mode in _ID_MODES:
        values = np.asarray(mask).astype(np.int32)  # of a palette image: the ids
        entries = tuple(meaning.items())  # type: ignore[arg-type]
    else:
        raise ValueError(
            f"the mask {source} is a colour image ({mask.mode}), but one class id per pixel is "
            "expected: save it as a grey or palette PNG of ids, or write label_colors.txt beside the "
            "splits, with a line 'R G B name' for each class"
        )
    # Negative and large ids share the last place, which no entry has.
    table = _table(entries, 1 << (24 if colored else 16))
    classes = table[values if colored else np.where((values < 0) | (values > 65534), 65535, values)]
    if classes.min(initial=0) == _UNKNOWN:
        unknown = np.unique(values[classes == _UNKNOWN])
        known = sorted({c for c in meaning.values() if c != IGNORE})
        kind = "colour" if colored else "id"
        raise ValueError(
            f"the mask {source} holds {kind} {_describe(unknown, colored)}, which stands for no class "
            f"of {len(known)} ({kind}s of {len(meaning)} are known): correct the mask, name the "
            f"class, or write {IGNORE} where a pixel has none"
        )
    return classes.astype(np.uint8)


def fit_mask(
    classes: UInt8[np.ndarray, "h w"], height: int, width: int
) -> UInt8[np.ndarray, "height width"]:
    """Returns a mask cut as `fit_image` cuts its image, each pixel that under its centre."""
    image = Image.fromarray(classes)
    return np.asarray(cover(image, height, width, Image.Resampling.NEAREST))


def fit_pair(
    image: Image.Image,
    mask: Image.Image,
    image_shape: tuple[int, int, int],
    meaning: Meaning,
    source: object,
) -> Batch:
    """Returns `images` [h, w, c] and `masks` [h, w] of one example, fitted to a shape.

    Raises:
      ValueError: if both differ in size, or the mask holds what stands for no class.
    """
    if image.size != mask.size:
        raise ValueError(
            f"the mask {source} has {mask.size[0]}x{mask.size[1]} pixels, its image "
            f"{image.size[0]}x{image.size[1]}: both must have one size; resize the mask to the "
            "nearest pixel"
        )
    classes = decode_mask(mask, meaning, source)
    return {
        "images": fit_image(image, image_shape),
        "masks": fit_mask(classes, *image_shape[:2]),
    }


def read_pair(
    image_path: pathlib.Path,
    mask_path: pathlib.Path,
    image_shape: tuple[int, int, int],
    meaning: Meaning,
) -> Batch:
    """Returns `images` [h, w, c] and `masks` [h, w] of one example from its two files.

    Raises:
      ValueError: if a file cannot be read, both differ in size, or the mask holds what stands for
        no class.
    """
    image, mask = open_stored(image_path), open_stored(mask_path)
    return fit_pair(image, mask, image_shape, meaning, f"{mask_path} (of {image_path.name})")
