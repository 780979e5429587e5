import numpy as np
import pytest
from tiny_coco import coco_folder, coco_object

from attokit.train.coco_instances import read_coco_instances

SIZE = (50, 100)  # of the images of `coco_folder`


def test_objects_of_each_image(tmp_path):
    crowd = {"size": list(SIZE), "counts": [0, 50 * 100]}
    objects = [
        coco_object(7, 3, [10, 5, 20, 10]),
        coco_object(7, 1, [0, 0, 100, 50], iscrowd=1, segmentation=crowd),
    ]
    coco_folder(tmp_path, objects)
    names, splits = read_coco_instances(tmp_path)
    assert names == ("background", "person", "car")
    first, empty = splits["train"]
    found = first.read(SIZE)
    np.testing.assert_array_equal(found.boxes_xyxy[0], [10, 5, 30, 15])
    np.testing.assert_array_equal(found.labels, [2, -1])  # a crowd does not count
    assert found.masks[0].sum() == 200 and found.masks[0, 5:15, 10:30].all()
    assert found.masks[1].all()
    assert empty.read(SIZE).masks.shape == (0, *SIZE)


def test_annotations_without_masks(tmp_path):
    bare = coco_object(7, 3, [1, 2, 3, 4])
    del bare["segmentation"]
    coco_folder(tmp_path, [bare])
    with pytest.raises(ValueError, match=r"1 annotations of .* have no segmentation, such as 4 of"):
        read_coco_instances(tmp_path)


def test_a_bad_mask_is_named(tmp_path):
    coco_folder(tmp_path, [coco_object(7, 3, [1, 2, 3, 4], segmentation=[[1, 2, 3]])])
    record = read_coco_instances(tmp_path)[1]["train"][0]
    with pytest.raises(ValueError, match=r"annotation 4 of .*0.png has the polygon \[1, 2, 3\]"):
        record.read(SIZE)


def test_classes_and_images_that_are_not_there(tmp_path):
    coco_folder(tmp_path, [coco_object(7, 9, [1, 2, 3, 4])])
    with pytest.raises(ValueError, match="annotation 4 has category 9, which has no name"):
        read_coco_instances(tmp_path)
    coco_folder(tmp_path, [coco_object(70, 3, [1, 2, 3, 4])], "val2017")
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    with pytest.raises(ValueError, match="annotation 4 is of image 70, which is not there"):
        read_coco_instances(tmp_path)
