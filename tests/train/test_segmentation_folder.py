import numpy as np
import pytest
from PIL import Image

from attokit.train import camvid
from attokit.train.segmentation_folder import (
    is_segmentation_folder,
    load_segmentation_folder,
    read_label_colors,
)

IDS = np.array([[0, 1], [1, 255]], np.uint8)


def _save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def _plain(root, *, ids=IDS, names="sky\nroad\n"):
    for split in ("train", "test"):
        _save(root / split / "images" / "1.png", np.repeat(50 * (ids[..., None] % 5), 3, -1))
        _save(root / split / "masks" / "1.png", ids)
    if names:
        (root / "classes.txt").write_text(names)
    return root


def _read(root, split, shape=(2, 2, 3)):
    dataset = load_segmentation_folder(root, shape)
    assert dataset.task == "segmentation"
    source = dataset.split(split)
    return dataset, source.read(np.arange(len(source)))


def test_plain_layout(tmp_path):
    assert not is_segmentation_folder(tmp_path)
    dataset, batch = _read(_plain(tmp_path), "test")
    assert is_segmentation_folder(tmp_path)
    assert dataset.class_names == ("sky", "road")
    np.testing.assert_array_equal(batch["masks"], IDS[None])
    assert batch["images"][0, :, :, 1].tolist() == [[0, 50], [50, 0]]


def test_colours_with_their_names(tmp_path):
    _plain(tmp_path, names=None)
    (tmp_path / "label_colors.txt").write_text("128 64 128\troad way\n0 0 0 Void\n\n1 2 3 car\n")
    pixels = np.array([[(1, 2, 3), (128, 64, 128)], [(0, 0, 0), (1, 2, 3)]])
    for split in ("train", "test"):
        _save(tmp_path / split / "masks" / "1.png", pixels)
    dataset, batch = _read(tmp_path, "train")
    assert dataset.class_names == ("road way", "car")
    assert batch["masks"].tolist() == [[[1, 0], [255, 1]]]


def test_camvid_of_ids_has_void_at_11(tmp_path):
    _save(tmp_path / "train" / "0016E5_1.png", np.zeros((2, 2, 3)))
    _save(tmp_path / "trainannot" / "0016E5_1.png", [[10, 11], [0, 255]])
    dataset, batch = _read(tmp_path, "train")
    assert dataset.class_names == camvid.CLASSES
    assert batch["masks"].tolist() == [[[10, 255], [0, 255]]]


def test_camvid_of_colours_is_grouped_and_split(tmp_path):
    colors = camvid.LABEL_COLORS
    for name in ("0001TP_006690", "0016E5_07961", "Seq05VD_f00120"):
        _save(tmp_path / "701_StillsRaw_full" / f"{name}.png", np.zeros((2, 2, 3)))
        pixels = [[colors["Car"], colors["Truck_Bus"]], [colors["Void"], colors["Sky"]]]
        _save(tmp_path / "LabeledApproved_full" / f"{name}_L.png", pixels)
    dataset, batch = _read(tmp_path, "val")
    assert sorted(dataset.splits) == ["test", "train", "val"]
    assert batch["masks"].tolist() == [[[8, 8], [255, 0]]]


def test_voc_lists_name_the_splits(tmp_path):
    for name in ("2007_1", "2007_2", "unlabelled"):
        _save(tmp_path / "JPEGImages" / f"{name}.jpg", np.zeros((2, 2, 3)))
    for name, value in (("2007_1", 20), ("2007_2", 0)):
        mask = Image.new("P", (2, 2), value)
        mask.putpalette([3, 200, 90] * 256)
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(tmp_path / "SegmentationClass" / f"{name}.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n")
    (lists / "trainval.txt").write_text("2007_1\n2007_2\n")
    dataset, batch = _read(tmp_path, "trainval")
    assert dataset.num_classes == 21
    assert batch["masks"][:, 0, 0].tolist() == [20, 0]
    assert len(dataset.split("train")) == 1


def test_cityscapes_by_city(tmp_path):
    for city in ("ulm", "aachen"):
        _save(tmp_path / f"leftImg8bit/val/{city}/{city}_1_leftImg8bit.png", np.zeros((2, 4, 3)))
        mask = np.full((2, 4), 18 if city == "ulm" else 255)
        _save(tmp_path / f"gtFine/val/{city}/{city}_1_gtFine_labelTrainIds.png", mask)
    (tmp_path / "leftImg8bit" / "test").mkdir()
    dataset, batch = _read(tmp_path, "val")
    assert list(dataset.splits) == ["val"]
    assert (dataset.num_classes, batch["masks"][:, 0, 0].tolist()) == (19, [255, 18])


def test_files_of_the_folder_name_the_classes_of_any_layout(tmp_path):
    _save(tmp_path / "train" / "a.png", np.zeros((2, 2, 3)))
    _save(tmp_path / "trainannot" / "a.png", [[0, 1], [2, 2]])
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    dataset, _ = _read(tmp_path, "train")
    assert dataset.class_names == ("a", "b", "c")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(ValueError, match=r"in classes.txt and labels.txt: keep one"):
        load_segmentation_folder(tmp_path)


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="is no folder of images and masks: lay it out as one of"):
        load_segmentation_folder(tmp_path)
    _plain(tmp_path, names=None)
    with pytest.raises(ValueError, match=r"does not name its classes: write classes.txt"):
        load_segmentation_folder(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(ValueError, match="has 2 channels"):
        load_segmentation_folder(tmp_path, (2, 2, 2))
    (tmp_path / "test" / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1 files are missing .*test/masks/1.png"):
        load_segmentation_folder(tmp_path)


def test_ids_outside_the_classes_are_named(tmp_path):
    _plain(tmp_path, ids=np.array([[0, 1], [2, 7]], np.uint8), names="a\nb\nc\n")
    with pytest.raises(ValueError, match=r"train/masks/1.png .* holds id 7, .* no class of 3"):
        _read(tmp_path, "train")


def test_black_and_white_is_no_mask_of_two_classes(tmp_path):
    _plain(tmp_path, ids=np.array([[0, 255], [0, 0]], np.uint8))
    with pytest.raises(ValueError, match=r"hold 0 and 255 only, .*write 1 for the second class"):
        load_segmentation_folder(tmp_path, (2, 2, 3))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1 2 road\n", r"line 1 of .* is '1 2 road'"),
        ("1 2 300 road\n", "three numbers from 0 to 255"),
        ("1 2 3 a\n1 2 3 b\n", r"line 2 of .* gives the colour \(1, 2, 3\) again"),
    ],
)
def test_damaged_lines_of_colours(tmp_path, text, match):
    (tmp_path / "label_colors.txt").write_text(text)
    with pytest.raises(ValueError, match=match):
        read_label_colors(tmp_path / "label_colors.txt")
