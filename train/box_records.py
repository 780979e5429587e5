"""Image files with their boxes, read and fitted one by one: what every folder for detection comes to."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from attokit.train.box_geometry import cover_boxes, keep_inside
from attokit.train.dataset import Batch, RecordSource
from attokit.train.image_folder import fit_image
from attokit.train.padded_boxes import BoxPadding
from attokit.train.photo import open_stored

MAX_BOXES = 128
"""Rows of boxes in a batch, unless told otherwise."""


@dataclasses.dataclass(frozen=True, eq=False)
class BoxRecord:
    """An image file and what is in it.

    Attributes:
      image: The file.
      boxes_xyxy: In its pixels; such of no area, which some data sets have, are left out when read.
      labels: As `train.padded_boxes` has them: minus the class where an object does not count.
    """

    image: pathlib.Path
    boxes_xyxy: Float[np.ndarray, "m 4"]
    labels: Int[np.ndarray, " m"]


def fit_example(
    image: Image.Image,
    boxes_xyxy: Float[np.ndarray, "m 4"],
    labels: Int[np.ndarray, " m"],
    image_shape: tuple[int, int, int],
    padding: BoxPadding,
) -> Batch:
    """Returns an image resized to cover a shape, its centre cropped, and its boxes with it."""
    size = image_shape[:2]
    boxes = cover_boxes(boxes_xyxy, (image.height, image.width), size)
    return {"images": fit_image(image, image_shape)} | padding(*keep_inside(boxes, labels, size))


def box_record_source(
    name: str,
    records: Sequence[BoxRecord],
    image_shape: tuple[int, int, int],
    *,
    max_boxes: int = MAX_BOXES,
) -> RecordSource:
    """Returns the examples of records: `images`, `boxes` and `box_labels`.

    Raises:
      ValueError: if there is no row for a box. When an example is read: if its file is no image.
    """
    padding = BoxPadding(max_boxes, name)

    def read_one(index: int) -> Batch:
        record = records[index]
        image = open_stored(record.image)
        return fit_example(image, record.boxes_xyxy, record.labels, image_shape, padding)

    return RecordSource(len(records), read_one)


def read_layout(
    folder: str | pathlib.Path,
    image_shape: tuple[int, int, int],
    layouts: Mapping[str, tuple[Callable[[pathlib.Path], bool], Callable]],
    holds: str,
) -> tuple[tuple[str, ...], dict[str, list]]:
    """Returns class names and the records of each split of a folder, all of whose images are there.

    Args:
      folder: Where it lies.
      image_shape: Height, width and channels to fit its images to.
      layouts: By description: whether a folder is laid out so, and what reads it then.
      holds: What such folders hold, for messages.

    Raises:
      ValueError: if the layout is none of these, a file is missing or damaged, or the images would have
        neither 1 nor 3 channels.
    """
    folder = pathlib.Path(folder)
    if image_shape[2] not in (1, 3):
        raise ValueError(f"image shape {image_shape} has {image_shape[2]} channels: give 1 or 3")
    read = next((read for fits, read in layouts.values() if fits(folder)), None)
    if read is None:
        raise ValueError(
            f"{folder} is no folder of {holds}: lay it out as one of {'; '.join(layouts)}"
        )
    class_names, splits = read(folder)
    check_images(folder, (record.image for records in splits.values() for record in records))
    return class_names, splits


def check_images(folder: pathlib.Path, images: Iterable[pathlib.Path]) -> None:
    """Raises ValueError, with all that are missing, unless every image is there."""
    missing = [str(image) for image in images if not image.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} images of {folder} are missing: {', '.join(missing)}; unpack the data set whole"
        )


def as_record(
    image: pathlib.Path, boxes_xyxy: Sequence[Sequence[float]], labels: Sequence[int]
) -> BoxRecord:
    """Returns a record of lists, which may be empty."""
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    return BoxRecord(image, boxes, np.asarray(labels, np.int32).reshape(-1))
