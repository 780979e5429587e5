"""Folders of images and boxes, in the layouts that data sets have."""

import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from attokit.train.box_records import MAX_BOXES, BoxRecord, box_record_source, read_layout
from attokit.train.coco_json import is_coco, read_coco
from attokit.train.dataset import Dataset
from attokit.train.voc_boxes import is_voc_boxes, read_voc_boxes
from attokit.train.wider_face import CLASSES, is_wider_face, read_wider_face

Splits = dict[str, list[BoxRecord]]


def _faces(folder: pathlib.Path) -> tuple[tuple[str, ...], Splits]:
    return CLASSES, read_wider_face(folder)


_LAYOUTS: Mapping[str, tuple[Callable[[pathlib.Path], bool], Callable]] = MappingProxyType(
    {
        "wider_face_split/wider_face_SPLIT_bbx_gt.txt with WIDER_SPLIT/images (WIDER FACE)": (
            is_wider_face,
            _faces,
        ),
        "Annotations/NAME.xml with JPEGImages and ImageSets/Main/SPLIT.txt (PASCAL VOC, SCUT-HEAD)": (
            is_voc_boxes,
            read_voc_boxes,
        ),
        "annotations/instances_SPLIT.json with SPLIT/NAME.jpg (COCO)": (is_coco, read_coco),
    }
)


def is_detection_folder(folder: str | pathlib.Path) -> bool:
    """Returns whether `load_detection_folder` knows the layout of a folder."""
    return any(fits(pathlib.Path(folder)) for fits, _ in _LAYOUTS.values())


def load_detection_folder(
    folder: str | pathlib.Path,
    image_shape: tuple[int, int, int],
    *,
    max_boxes: int = MAX_BOXES,
) -> Dataset:
    """Returns the data set of a folder of images and boxes: WIDER FACE, SCUT-HEAD, PASCAL VOC or COCO.

    Images are resized to cover `image_shape` and cropped at the centre when they are read; objects whose
    centre is cut off are there no more.

    Args:
      folder: Where it lies.
      image_shape: Height, width and channels.
      max_boxes: Rows of boxes in a batch; of images with more, the largest objects stay.

    Raises:
      ValueError: if the layout is none of these, a file is missing or damaged, or there is no row.
    """
    folder = pathlib.Path(folder)
    class_names, splits = read_layout(folder, image_shape, _LAYOUTS, "images and boxes")
    return Dataset(
        name=folder.name,
        task="detection",
        class_names=class_names,
        image_shape=image_shape,
        splits={
            split: box_record_source(
                f"{folder.name}/{split}", records, image_shape, max_boxes=max_boxes
            )
            for split, records in splits.items()
        },
    )
