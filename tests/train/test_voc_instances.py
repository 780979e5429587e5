import numpy as np
import pytest
from PIL import Image
from tiny_voc import SIZE, voc_folder

from attokit.train.voc_instances import is_voc_instances, read_voc_instances


def test_objects_by_number_and_class(tmp_path):
    assert not is_voc_instances(tmp_path)
    voc_folder(tmp_path)
    assert is_voc_instances(tmp_path)
    names, splits = read_voc_instances(tmp_path)
    assert names[0] == "background" and len(names) == 21
    assert {split: len(records) for split, records in splits.items()} == {"train": 1, "val": 1}
    found = splits["val"][0].read(SIZE)
    np.testing.assert_array_equal(found.labels, [1, 20])
    np.testing.assert_array_equal(found.boxes_xyxy, [[3, 2, 12, 10], [15, 5, 28, 18]])
    assert found.masks.sum((1, 2)).tolist() == [8 * 9, 13 * 13]  # 255 is in neither


def test_the_class_of_most_pixels(tmp_path):
    voc_folder(tmp_path)
    path = tmp_path / "SegmentationClass" / "a.png"
    ids = np.array(Image.open(path))
    ids[2:4, 3:12], ids[4, 3:12] = 7, 255
    Image.fromarray(ids).save(path)
    np.testing.assert_array_equal(
        read_voc_instances(tmp_path)[1]["val"][0].read(SIZE).labels, [1, 20]
    )


def test_an_image_without_objects(tmp_path):
    voc_folder(tmp_path)
    for kind in ("Object", "Class"):
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / f"Segmentation{kind}" / "a.png")
    found = read_voc_instances(tmp_path)[1]["val"][0].read(SIZE)
    assert found.masks.shape == (0, *SIZE) and found.boxes_xyxy.shape == (0, 4)


def test_bad_files(tmp_path):
    voc_folder(tmp_path, ("a", "b", "c"))
    record = read_voc_instances(tmp_path)[1]["val"][0]
    with pytest.raises(
        ValueError, match=r"SegmentationObject/a.png has \(20, 30\) pixels, its image"
    ):
        record.read((30, 20))
    voc_folder(tmp_path, ("a",), classes=(1, 40))
    with pytest.raises(ValueError, match=r"object 2 of .* has class 40 in .*there are 1 to 20"):
        record.read(SIZE)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "SegmentationObject" / "a.png")
    with pytest.raises(ValueError, match=r"cannot read the mask .*it is RGB, not numbers"):
        record.read(SIZE)
    voc_folder(tmp_path, ("a", "b", "c"))
    for name in ("a", "c"):
        (tmp_path / "SegmentationObject" / f"{name}.png").unlink()
    with pytest.raises(ValueError, match=r"4 files with masks are missing .*a.png, .*c.png"):
        read_voc_instances(tmp_path)
