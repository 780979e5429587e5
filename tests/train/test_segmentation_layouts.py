import pytest
from PIL import Image

from attokit.train.segmentation_layouts import LAYOUTS, find_layout


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_is_recognized_by_its_marks_alone(tmp_path, name):
    assert find_layout(tmp_path) is None
    for mark in LAYOUTS[name].marks:
        (tmp_path / mark).mkdir(parents=True)
    assert find_layout(tmp_path) is LAYOUTS[name]


def test_class_names_fit_what_the_masks_mean():
    for layout in LAYOUTS.values():
        if layout.class_names is not None and layout.meaning is not None:
            assert set(layout.meaning.values()) - {255} == set(range(len(layout.class_names)))
    assert [len(LAYOUTS[n].class_names) for n in ("voc", "cityscapes", "camvid")] == [21, 19, 11]


def test_hidden_files_and_unlabelled_splits_are_no_frames(tmp_path):
    for folder in ("train/images/a", "train/masks", "test/images", ".git/images", ".git/masks"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("train/images/a/1.x.png", "train/images/._1.png", "test/images/2.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / file)
    frames = LAYOUTS["plain"].frames(tmp_path)
    assert frames == {"train": [(tmp_path / "train/images/a/1.x.png", "a/1.x")]}
