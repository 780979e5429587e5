import io

import numpy as np
import pytest
from PIL import Image

from attokit.samples import sample_sheet
from attokit.train import IGNORE, Dataset


def _dataset(task, **arrays):
    images = np.zeros((3, 16, 24, 3), np.uint8)
    names = ("background", "cat", "dog")
    source = [0]  # never read: a sheet is of a batch
    dataset = Dataset(
        name="drawn",
        class_names=names,
        image_shape=(16, 24, 3),
        splits={"train": source},
        task=task,
    )
    return dataset, {"images": images, **arrays}


def _pixels(*arguments):
    return np.asarray(Image.open(io.BytesIO(sample_sheet(*arguments))).convert("RGB"), int)


def _has(picture, color):
    return (np.abs(picture - np.array(color)).sum(-1) < 30).sum()


def test_classes_are_written():
    dataset, batch = _dataset("classification", labels=np.array([1, 2, 1]))
    first = _pixels(dataset, batch)
    assert not np.array_equal(first, _pixels(dataset, batch | {"labels": np.array([1, 2, 2])}))


def test_masks_are_painted_and_boxes_drawn():
    masks = np.full((3, 16, 24), IGNORE, np.uint8)
    plain = _pixels(*_dataset("segmentation", masks=masks))
    masks[0, 4:8] = 2
    dog = (0xDD, 0xCC, 0x77)  # the third hue
    share = tuple(0.7 * value for value in dog)  # over a black image
    assert _has(_pixels(*_dataset("segmentation", masks=masks)), share) > 100 > _has(plain, share)
    boxes = np.tile(np.array([2, 3, 12, 13], np.float32), (3, 2, 1))
    labels = np.array([[2, 0], [0, 0], [-2, 0]], np.int32)
    drawn = _pixels(*_dataset("detection", boxes=boxes, box_labels=labels))
    none = _pixels(*_dataset("detection", boxes=boxes, box_labels=0 * labels))
    assert _has(drawn, dog) > 100 > _has(none, dog)
    pictures = np.zeros((3, 2, 4, 4), np.uint8)
    instances = {"boxes": boxes, "box_labels": labels, "instance_masks": pictures}
    empty = _pixels(*_dataset("instance_segmentation", **instances))
    pictures[0, 0] = 255
    full = _pixels(*_dataset("instance_segmentation", **instances))
    share = tuple(0.5 * value for value in dog)
    assert _has(full, dog) > 100 and _has(full, share) > 1000 > 100 > _has(empty, share)


def test_what_has_no_picture():
    dataset, batch = _dataset("classification", labels=np.array([1, 2, 1]))
    object.__setattr__(dataset, "task", "depth")
    with pytest.raises(ValueError, match="drawn is data for depth, which is not drawn"):
        sample_sheet(dataset, batch)
