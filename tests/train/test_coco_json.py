import json

import numpy as np
import pytest
from tiny_coco import coco_folder

from attokit.train.coco_json import (
    annotation_files,
    is_coco,
    load_visual_wake_words,
    read_coco,
    wake_word_label,
)


def _object(image, category, x, y, w, h, **more):
    return {"id": 1, "image_id": image, "category_id": category, "bbox": [x, y, w, h]} | more


OBJECTS = [_object(7, 3, 1, 2, 10, 20), _object(7, 1, 0, 0, 5, 5, iscrowd=1)]


def test_boxes_of_each_split(tmp_path):
    assert not is_coco(tmp_path)
    coco_folder(tmp_path, OBJECTS)
    coco_folder(tmp_path, [], "val2017")
    assert is_coco(tmp_path) and list(annotation_files(tmp_path)) == ["train", "val"]
    names, splits = read_coco(tmp_path)
    assert names == ("background", "person", "car")
    first, empty = splits["train"]
    np.testing.assert_array_equal(first.boxes_xyxy, [[1, 2, 11, 22], [0, 0, 5, 5]])
    np.testing.assert_array_equal(first.labels, [2, -1])  # a crowd does not count
    assert len(empty.labels) == 0 and empty.image == tmp_path / "train2017" / "1.png"


def test_wake_words_by_hand():
    image = {"width": 100, "height": 50}  # 0.5 % are 25 pixels
    person, small, car = (
        _object(7, *row) for row in ((1, 0, 0, 6, 5), (1, 0, 0, 5, 5), (3, 0, 0, 9, 9))
    )
    for objects, label in (([], 0), ([small], 0), ([car], 0), ([small, person], 1)):
        assert wake_word_label(image, objects, 1) == label


def test_visual_wake_words(tmp_path):
    coco_folder(tmp_path, [_object(8, 1, 0, 0, 6, 5), *OBJECTS[:1]])
    dataset = load_visual_wake_words(tmp_path, (8, 8, 3))
    assert (dataset.task, dataset.class_names) == ("classification", ("no person", "person"))
    batch = dataset.split("train").read(np.arange(2))
    np.testing.assert_array_equal(batch["labels"], [0, 1])
    np.testing.assert_array_equal(batch["images"][:, 0, 0, 0], [0, 60])


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match=r"no annotations/instances_SPLIT.json in"):
        load_visual_wake_words(tmp_path)
    coco_folder(tmp_path, [], categories=[{"id": 1, "name": "cat"}])
    with pytest.raises(ValueError, match=r"no category of .* is called person: it has cat"):
        load_visual_wake_words(tmp_path)
    coco_folder(tmp_path, [], "val2017")
    with pytest.raises(ValueError, match="have different categories"):
        read_coco(tmp_path)
    (tmp_path / "annotations" / "instances_more.json").write_text("{}")
    with pytest.raises(ValueError, match="but no folder more with its images"):
        read_coco(tmp_path)
    (tmp_path / "images" / "more").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"is no COCO file of instances \(KeyError: 'images'\)"):
        read_coco(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": [1, "wide", 3, 4]},
        {"category_id": 9},
        {"image_id": 99},
        {"bbox": None},
    ],
)
def test_damaged_annotations(tmp_path, bad):
    coco_folder(tmp_path, [OBJECTS[0] | bad])
    with pytest.raises(ValueError, match="is no COCO file of instances"):
        read_coco(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_boxes_that_are_not_finite(tmp_path, value):
    coco_folder(tmp_path, [OBJECTS[0] | {"id": 31, "bbox": [1, 2, value, 4]}])
    with pytest.raises(
        ValueError, match=r"annotation 31 has the bbox \[1.0, 2.0, (nan|inf), 4.0\]"
    ):
        read_coco(tmp_path)


@pytest.mark.parametrize(("field", "read"), [("file_name", read_coco), ("width", None)])
def test_images_that_lack_a_field(tmp_path, field, read):
    coco_folder(tmp_path, [])
    path = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    del content["images"][1][field]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"is no COCO file .*image 8 has no {field}"):
        (read or load_visual_wake_words)(tmp_path)


def test_two_years_of_one_split(tmp_path):
    coco_folder(tmp_path, [])
    coco_folder(tmp_path, [], "train2014")
    assert is_coco(tmp_path)
    with pytest.raises(
        ValueError, match=r"train2017.json are both the split 'train': leave only one"
    ):
        read_coco(tmp_path)
