"""Image files with their objects and masks, read and fitted one by one: what every folder with instances comes to."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from attokit.train.box_geometry import clip_boxes
from attokit.train.box_records import MAX_BOXES
from attokit.train.dataset import Batch, RecordSource
from attokit.train.instances import MASK_SIZE
from attokit.train.mask_rle import pack_bits
from attokit.train.mask_targets import compact_mask
from attokit.train.padded_boxes import BoxPadding
from attokit.train.photo import open_stored
from attokit.train.resize_pad import boxes_in_fitted, resize_and_pad, resize_and_pad_mask


@dataclasses.dataclass(frozen=True, eq=False)
class ImageObjects:
    """What is in an image, in its pixels.

    Attributes:
      boxes_xyxy: Of the objects.
      labels: As `train.padded_boxes` has them: minus the class where an object does not count.
      masks: Of the objects, which may overlap.
    """

    boxes_xyxy: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n h w"]


@dataclasses.dataclass(frozen=True, eq=False)
class InstanceRecord:
    """An image file, and how to read what is in it.

    Attributes:
      image: The file.
      read: (height, width) of the image to its objects.
    """

    image: pathlib.Path
    read: Callable[[tuple[int, int]], ImageObjects]


def fit_objects(
    image: Image.Image,
    objects: ImageObjects,
    image_shape: tuple[int, int, int],
    padding: BoxPadding,
    *,
    exact: bool,
    mask_size: int = MASK_SIZE,
) -> Batch:
    """Returns an image resized and padded to a shape, with its `image_info` and its objects.

    Boxes are cut off at the border of the image; those of no area are left out. An object whose mask is empty
    inside of its box does not count: nothing says what is to be learned there.

    Args:
      image: Of any size.
      objects: In its pixels.
      image_shape: Height, width and channels.
      padding: Of the objects.
      exact: Whether `instance_bits` are wanted.
      mask_size: Rows and columns of `instance_masks`.
    """
    pixels, info = resize_and_pad(image, image_shape)
    boxes = clip_boxes(objects.boxes_xyxy.astype(np.float32), (image.height, image.width))
    kept = padding.choose(boxes)
    boxes, masks, labels = boxes[kept], objects.masks[kept], objects.labels[kept].copy()
    pictures = [compact_mask(mask, box, mask_size) for mask, box in zip(masks, boxes, strict=True)]
    for row, picture in enumerate(pictures):
        if not picture.any():
            labels[row] = -abs(labels[row])
    batch = {"images": pixels, "image_info": info}
    batch |= padding(boxes_in_fitted(boxes, info), labels)
    rows = len(batch["box_labels"])
    batch["instance_masks"] = _filled(pictures, (rows, mask_size, mask_size), np.uint8)
    if exact:
        fitted = [resize_and_pad_mask(mask, info) for mask in masks]
        batch["instance_bits"] = pack_bits(_filled(fitted, (rows, *image_shape[:2]), bool))
    return batch


def _filled(rows: Sequence[np.ndarray], shape: tuple[int, ...], dtype: type) -> np.ndarray:
    out: np.ndarray = np.zeros(shape, dtype)
    if rows:
        out[: len(rows)] = np.stack(rows)
    return out


def instance_record_source(
    name: str,
    records: Sequence[InstanceRecord],
    image_shape: tuple[int, int, int],
    *,
    exact: bool,
    max_boxes: int = MAX_BOXES,
) -> RecordSource:
    """Returns the examples of records: `images`, `image_info`, boxes and masks as `train.instances` has them.

    Raises:
      ValueError: if there is no row for a box. When an example is read: if its file is no image, or what is in
        it cannot be.
    """
    padding = BoxPadding(max_boxes, name)

    def read_one(index: int) -> Batch:
        record = records[index]
        image = open_stored(record.image)
        objects = record.read((image.height, image.width))
        return fit_objects(image, objects, image_shape, padding, exact=exact)

    return RecordSource(len(records), read_one)
