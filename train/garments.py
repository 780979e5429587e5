"""Garments: images of Fashion-MNIST, cut out of their black background.

Deviation: Fashion-MNIST has no masks. A garment is here what is brighter than nearly black, without
specks and with its holes filled: inside clothes and closed shoes those are dark prints, seams and
soles. Only bags and sandals have real openings (under the handle, between the straps); those stay
open unless they are tiny. A pixel at the edge that is darker than its neighbours inside is taken for
one that the garment covers in part. Images too dark to be told from their background are left out;
the embedded subset has none.
"""

import dataclasses
import functools
import pathlib

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy import ndimage

from attokit.checkpoints.class_names import FASHION_MNIST
from attokit.train.fashion_mnist import load_fashion_mnist_subset, read_fashion_mnist_arrays

_DARKEST = 12  # of 255; below are the background and the compression's noise around garments
_MIN_SPECK = 12  # pixels; parts of a garment are larger than what is dropped as a speck
_MIN_OPENING = 6  # pixels; smaller holes of bags and sandals are buckles and seams
_MIN_AREA = 40  # pixels; the smallest garment of the subset has 59
_BORDER = 2  # pixels of background around each, so that resized edges end inside the image
_WITH_OPENINGS = tuple(FASHION_MNIST.index(name) for name in ("Sandal", "Bag"))

# Neighbours within one image of a stack: four for background, eight for thin straps.
_FOUR = ndimage.generate_binary_structure(2, 1)[None] & [[[False]], [[True]], [[False]]]
_EIGHT = np.ones((1, 3, 3), bool) & [[[False]], [[True]], [[False]]]


@dataclasses.dataclass(frozen=True)
class Garments:
    """Garments to be pasted.

    Attributes:
      pixels: Brightness, unmixed at the edges from the black behind, and continued outside of them
        so that resized and rotated edges keep the garment's colour.
      covers: Share of the pixel that the garment covers: 255 all of it, 0 nothing. No garment is
        empty and none touches the border.
      labels: Class numbers of Fashion-MNIST, 0 to 9.
    """

    pixels: UInt8[np.ndarray, "n h w"]
    covers: UInt8[np.ndarray, "n h w"]
    labels: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        """Returns the number of garments."""
        return len(self.labels)


def cut_out(
    images: UInt8[np.ndarray, "n h w"], labels: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, "n h w"]:
    """Returns where the garment of each image is; the images' outermost pixels are background."""
    masks = images > _DARKEST
    parts, count = ndimage.label(masks, _EIGHT)
    masks &= (np.bincount(parts.ravel(), minlength=count + 1) >= _MIN_SPECK)[parts]
    holes, count = ndimage.label(~masks, _FOUR)
    filled = np.ones(count + 1, bool)
    filled[holes[:, 0, 0]] = False  # the surroundings of each garment
    opening = np.bincount(holes.ravel(), minlength=count + 1) >= _MIN_OPENING
    keeps = np.isin(labels, _WITH_OPENINGS)[:, None, None]
    return masks | (filled[holes] & ~(opening[holes] & keeps))


def _brightest_near(images: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n h w"]:
    return ndimage.maximum_filter(images, (1, 3, 3))


def make_garments(images: UInt8[np.ndarray, "n h w"], labels: Int[np.ndarray, " n"]) -> Garments:
    """Returns the garments of bright-on-black images, without those that are too dark to see."""
    border = (_BORDER, _BORDER)
    images = np.pad(images, ((0, 0), border, border))
    masks = cut_out(images, labels)
    seen = masks.sum((1, 2)) >= _MIN_AREA
    images, masks = images[seen], masks[seen]
    inside = ndimage.binary_erosion(masks, _FOUR)
    near = _brightest_near(np.where(inside, images, 0))
    # Straps of one or two pixels have no inside near; they keep their values.
    pixels = np.where(masks & ~inside, np.maximum(images, near), np.where(masks, images, 0))
    covers = np.where(inside, 255, images * 255.0 / np.maximum(pixels, 1)) * masks
    for _ in range(_BORDER):
        known = masks | (pixels > 0)
        pixels = np.where(known, pixels, _brightest_near(pixels))
    return Garments(pixels, np.rint(covers).astype(np.uint8), labels[seen])


@functools.cache
def load_garments(split: str, folder: str | pathlib.Path | None = None) -> Garments:
    """Returns the garments of one split, `train` or `test`.

    Args:
      split: Name of the split.
      folder: Of the IDX files of all of Fashion-MNIST; None for the embedded subset.

    Raises:
      ValueError: if there is no such split, or a file is missing or damaged.
    """
    if folder is not None:
        return make_garments(*read_fashion_mnist_arrays(folder, split))
    source = load_fashion_mnist_subset().split(split)
    batch = source.read(np.arange(len(source)))
    return make_garments(batch["images"][..., 0], batch["labels"])
