import numpy as np
import pytest
from PIL import Image

from attokit.train.detection_folder import is_detection_folder, load_detection_folder


def _wider(root):
    (root / "wider_face_split").mkdir(parents=True)
    for split in ("train", "val"):
        images = root / f"WIDER_{split}" / "images" / "0--Parade"
        images.mkdir(parents=True)
        Image.fromarray(np.full((32, 64, 3), 9, np.uint8)).save(images / "a.jpg")
        (root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt").write_text(
            "0--Parade/a.jpg\n2\n20 4 10 20 0 0 0 0 0 0\n0 0 3 3 0 0 0 0 0 0\n"
        )


def test_a_folder_becomes_a_data_set(tmp_path):
    _wider(tmp_path)
    assert is_detection_folder(tmp_path)
    dataset = load_detection_folder(tmp_path, (16, 16, 1), max_boxes=4)
    assert (dataset.task, dataset.class_names) == ("detection", ("background", "face"))
    assert set(dataset.splits) == {"train", "val"}
    batch = dataset.split("val").read(np.zeros(2, int))
    assert batch["images"].shape == (2, 16, 16, 1)
    np.testing.assert_array_equal(batch["box_labels"], [[1, 0, 0, 0]] * 2)  # one is cut off
    np.testing.assert_allclose(batch["boxes"][0, 0], [2, 2, 7, 12])


def test_bad_folders(tmp_path):
    assert not is_detection_folder(tmp_path)
    with pytest.raises(
        ValueError, match=r"no folder of images and boxes: .*\(WIDER FACE\); .*COCO"
    ):
        load_detection_folder(tmp_path, (16, 16, 1))
    _wider(tmp_path)
    with pytest.raises(ValueError, match="has 4 channels: give 1 or 3"):
        load_detection_folder(tmp_path, (16, 16, 4))
    (tmp_path / "WIDER_val" / "images" / "0--Parade" / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 images of .* are missing: .*a.jpg; unpack"):
        load_detection_folder(tmp_path, (16, 16, 1))
