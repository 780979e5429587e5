"""Objects with masks of COCO's JSON files, laid out as `train.coco_json` says; crowds do not count."""

import functools
import pathlib

import numpy as np

from attokit.train.coco_json import CocoImage, read_annotations
from attokit.train.coco_masks import segmentation_mask
from attokit.train.instance_records import ImageObjects, InstanceRecord


def read_coco_instances(
    folder: pathlib.Path,
) -> tuple[tuple[str, ...], dict[str, list[InstanceRecord]]]:
    """Returns class names (background first, then by id) and the images of each split with their objects.

    Masks are drawn when an image is read.

    Raises:
      ValueError: if a file is damaged, an annotation has no segmentation, splits have other categories, or images
        are nowhere.
    """
    names, splits = read_annotations(folder)
    bare = [
        f"{annotation.get('id')} of {image.path.name}"
        for images in splits.values()
        for image in images
        for annotation in image.annotations
        if "segmentation" not in annotation
    ]
    if bare:
        raise ValueError(
            f"{len(bare)} annotations of {folder} have no segmentation, such as {', '.join(bare[:3])}: give "
            "polygons or run lengths, or train a detector of boxes"
        )
    return names, {
        split: [InstanceRecord(image.path, functools.partial(_objects, image)) for image in images]
        for split, images in splits.items()
    }


def _objects(image: CocoImage, size: tuple[int, int]) -> ImageObjects:
    masks = [
        segmentation_mask(
            annotation["segmentation"], size, f"annotation {annotation.get('id')} of {image.path}"
        )
        for annotation in image.annotations
    ]
    return ImageObjects(
        image.boxes_xyxy, image.labels, np.stack(masks) if masks else np.zeros((0, *size), bool)
    )
