import numpy as np
import pytest
from tiny_coco import coco_folder, coco_object
from tiny_voc import voc_folder

from attokit.train.instance_folder import load_instance_folder
from attokit.train.instances import check_instances

SHAPE = (32, 32, 3)


def test_coco(tmp_path):
    coco_folder(tmp_path, [coco_object(8, 3, [10, 5, 40, 20])])
    coco_folder(tmp_path, [], "val2017")
    dataset = load_instance_folder(tmp_path, SHAPE, max_boxes=3)
    assert (dataset.task, dataset.num_classes) == ("instance_segmentation", 3)
    batch = dataset.split("train").read(np.arange(2))
    check_instances(batch, 3)
    np.testing.assert_allclose(batch["boxes"][1, 0], np.array([10, 5, 50, 25]) * 0.32, rtol=1e-5)
    np.testing.assert_array_equal(batch["box_labels"], [[0, 0, 0], [2, 0, 0]])
    assert batch["instance_masks"][1, 0].min() > 250
    assert "instance_bits" not in batch
    assert "instance_bits" in dataset.split("val").read(np.arange(2))


def test_voc(tmp_path):
    voc_folder(tmp_path, ("a", "b"))
    dataset = load_instance_folder(tmp_path, SHAPE)
    assert (dataset.num_classes, sorted(dataset.splits)) == (21, ["train", "val"])
    batch = dataset.split("val").read(np.arange(2))
    check_instances(batch, 21)
    np.testing.assert_array_equal(batch["box_labels"][:, :3], [[1, 20, 0]] * 2)


def test_all_missing_images_are_named(tmp_path):
    coco_folder(tmp_path, [], images=5)
    for number in (0, 1, 3, 4):
        (tmp_path / "train2017" / f"{number}.png").unlink()
    with pytest.raises(ValueError, match=r"4 images of .*0.png, .*1.png, .*3.png, .*4.png; unpack"):
        load_instance_folder(tmp_path, SHAPE)


def test_other_folders(tmp_path):
    with pytest.raises(
        ValueError, match="is no folder of images and objects with masks: lay it out"
    ):
        load_instance_folder(tmp_path, SHAPE)
    with pytest.raises(ValueError, match="has 2 channels: give 1 or 3"):
        load_instance_folder(tmp_path, (8, 8, 2))
