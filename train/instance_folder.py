"""Folders of images and objects with masks, in the layouts that data sets have."""

import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from attokit.train.box_records import MAX_BOXES, read_layout
from attokit.train.coco_instances import read_coco_instances
from attokit.train.coco_json import is_coco
from attokit.train.dataset import Dataset
from attokit.train.instance_records import instance_record_source
from attokit.train.voc_instances import is_voc_instances, read_voc_instances

_LAYOUTS: Mapping[str, tuple[Callable[[pathlib.Path], bool], Callable]] = MappingProxyType(
    {
        "JPEGImages/NAME.jpg with SegmentationObject, SegmentationClass and ImageSets/Segmentation (PASCAL VOC)": (
            is_voc_instances,
            read_voc_instances,
        ),
        "annotations/instances_SPLIT.json with SPLIT/NAME.jpg (COCO)": (
            is_coco,
            read_coco_instances,
        ),
    }
)


def load_instance_folder(
    folder: str | pathlib.Path,
    image_shape: tuple[int, int, int],
    *,
    max_boxes: int = MAX_BOXES,
) -> Dataset:
    """Returns the data set of a folder of images and objects with masks: PASCAL VOC or COCO.

    Images are resized to fit into `image_shape` whole, and padded; batches hold `image_info`, by which what is found
    goes back (`train.resize_pad`). The split `train` has no `instance_bits`, which only evaluation needs.

    Args:
      folder: Where it lies.
      image_shape: Height, width and channels.
      max_boxes: Rows of objects in a batch; of images with more, the largest stay.

    Raises:
      ValueError: if the layout is none of these, a file is missing or damaged, or there is no row.
    """
    folder = pathlib.Path(folder)
    class_names, splits = read_layout(
        folder, image_shape, _LAYOUTS, "images and objects with masks"
    )
    return Dataset(
        name=folder.name,
        task="instance_segmentation",
        class_names=class_names,
        image_shape=image_shape,
        splits={
            split: instance_record_source(
                f"{folder.name}/{split}",
                records,
                image_shape,
                exact=split != "train",
                max_boxes=max_boxes,
            )
            for split, records in splits.items()
        },
    )
