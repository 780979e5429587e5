"""Objects with masks of PASCAL VOC: `SegmentationObject/NAME.png` numbers them, `SegmentationClass/NAME.png` names them.

Both are 255 at borders that belong to nobody, which is in no mask here. An object's box is that of its pixels,
its class the one that most of them have.
"""

import functools
import pathlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from attokit.train.dataset import IGNORE
from attokit.train.instance_records import ImageObjects, InstanceRecord
from attokit.train.segmentation_layouts import LAYOUTS, VOC_CLASSES

_OBJECTS = "SegmentationObject"


def is_voc_instances(folder: pathlib.Path) -> bool:
    """Returns whether a folder has VOC's images, classes of pixels and numbers of objects."""
    return all((folder / mark).is_dir() for mark in (*LAYOUTS["voc"].marks, _OBJECTS))


def read_voc_instances(
    folder: pathlib.Path,
) -> tuple[tuple[str, ...], dict[str, list[InstanceRecord]]]:
    """Returns class names, the background first, and the images of each split; masks are read with the image.

    Raises:
      ValueError: if a file with masks is missing.
    """
    layout = LAYOUTS["voc"]
    splits, missing = {}, []
    for split, frames in layout.frames(folder).items():
        splits[split] = []
        for image, key in frames:
            files = (folder / _OBJECTS / f"{key}.png", folder / layout.mask.format(key=key))
            missing += [str(path) for path in files if not path.is_file()]
            splits[split].append(InstanceRecord(image, functools.partial(_objects, *files)))
    if missing:
        raise ValueError(
            f"{len(missing)} files with masks are missing from {folder}: {', '.join(missing)}; every image of "
            "ImageSets/Segmentation needs both"
        )
    return VOC_CLASSES, splits


def _objects(
    objects_path: pathlib.Path, classes_path: pathlib.Path, size: tuple[int, int]
) -> ImageObjects:
    numbers, classes = _ids(objects_path, size), _ids(classes_path, size)
    found = [n for n in np.unique(numbers).tolist() if n not in (0, IGNORE)]
    masks = np.array([numbers == n for n in found]).reshape(len(found), *size)
    labels, boxes = np.zeros(len(found), np.int32), np.zeros((len(found), 4), np.float32)
    for row, mask in enumerate(masks):
        inside = classes[mask]
        counts = np.bincount(inside[(inside > 0) & (inside != IGNORE)], minlength=1)
        labels[row] = counts.argmax()
        if not 1 <= labels[row] < len(VOC_CLASSES):
            raise ValueError(
                f"object {found[row]} of {objects_path} has class {labels[row]} in {classes_path}, but there are "
                f"1 to {len(VOC_CLASSES) - 1}: both files must be of one image"
            )
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[row] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return ImageObjects(boxes, labels, masks)


def _ids(path: pathlib.Path, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise ValueError(f"it is {image.mode}, not numbers (a palette or grey image)")
            ids = np.asarray(image)
    except (OSError, UnidentifiedImageError, ValueError) as err:
        raise ValueError(f"cannot read the mask {path}: {err}; replace it") from err
    if ids.shape != size:
        raise ValueError(
            f"the mask {path} has {ids.shape} pixels, its image {size}: both must have one height and width"
        )
    return ids
