import pytest

from attokit.train.camvid import CLASSES, COLOR_CLASSES, GROUPS, LABEL_COLORS, split_of
from attokit.train.dataset import IGNORE


def test_every_label_has_one_colour_and_one_group():
    assert len(LABEL_COLORS) == len(set(LABEL_COLORS.values())) == 32
    assert tuple(GROUPS) == CLASSES
    grouped = [label for labels in GROUPS.values() for label in labels]
    assert sorted([*grouped, "Void"]) == sorted(LABEL_COLORS)
    assert COLOR_CLASSES[0, 0, 0] == IGNORE
    assert CLASSES[COLOR_CLASSES[LABEL_COLORS["SUVPickupTruck"]]] == "car"
    assert set(COLOR_CLASSES.values()) == {*range(11), IGNORE}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("0001TP_006690", "train"),
        ("0001TP_008520", "train"),
        ("0001TP_008550", "test"),
        ("0006R0_f00930", "train"),
        ("0016E5_07920", "train"),
        ("0016E5_07959", "val"),
        ("0016E5_08159", "val"),
        ("0016E5_08190", "train"),
        ("Seq05VD_f00000", "test"),
    ],
)
def test_the_usual_split(name, split):
    assert split_of(name) == split


def test_published_sizes_of_the_splits():
    second_half = [f"0001TP_{frame:06}" for frame in range(6690, 10381, 30)]
    dense = [f"0016E5_{frame:05}" for frame in range(7959, 8160, 2)]
    dusk = [f"Seq05VD_f{frame:05}" for frame in range(0, 5101, 30)]
    splits = [split_of(name) for name in second_half + dense + dusk]
    assert (splits.count("test"), splits.count("val"), splits.count("train")) == (233, 101, 62)


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="'holiday' is no frame of CamVid"):
        split_of("holiday")
