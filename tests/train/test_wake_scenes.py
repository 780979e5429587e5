import numpy as np
import pytest

from attokit.train import wake_scenes
from attokit.train.garments import load_garments
from attokit.train.scene_drawing import SceneConfig, draw_scene
from attokit.train.wake_scenes import load_wake_scenes, wake_scene_source

SIZE = (32, 48)
BAG = 8


def _source(garment="Bag", **options):
    return wake_scene_source("test", garment, **{"length": 40, "size": SIZE} | options)


def test_one_scene_in_two_shows_it(monkeypatch):
    seen = []
    monkeypatch.setattr(
        wake_scenes, "draw_scene", lambda *args: seen.append(draw_scene(*args)) or seen[-1]
    )
    source = _source()
    for index in range(len(source)):
        seen.clear()
        label = source.read(np.array([index]))["labels"][0]
        share = (seen[-1].class_map == BAG + 1).mean()
        assert share > 0.005 if label else share == 0
    labels = source.read(np.arange(len(source)))["labels"]
    assert 12 <= labels.sum() <= 28


def test_scenes_depend_on_garment_index_and_seed_alone():
    batch, again = _source().read(np.array([4, 0, 7])), _source().read(np.array([7, 4]))
    assert batch["images"].shape == (3, *SIZE, 3)
    assert (batch["images"].dtype, batch["labels"].dtype) == (np.uint8, np.int32)
    for name in batch:
        np.testing.assert_array_equal(batch[name][[2, 0]], again[name])
    for other in (_source("Coat"), _source(seed=1)):
        assert np.any(other.read(np.array([4]))["images"][0] != batch["images"][0])


def test_data_set(monkeypatch):
    monkeypatch.setattr(wake_scenes, "load_garments", lambda split, folder: load_garments("test"))
    dataset = load_wake_scenes("Ankle boot", SIZE, train=5, test=3)
    assert (dataset.name, dataset.task) == ("wake_scenes", "classification")
    assert dataset.class_names == ("no Ankle boot", "Ankle boot")
    assert {split: len(source) for split, source in dataset.splits.items()} == {
        "train": 5,
        "test": 3,
    }
    train, test = (dataset.split(split).read(np.arange(3)) for split in ("train", "test"))
    assert np.any(train["images"] != test["images"])


def test_scenes_without_garments_need_one_where_it_shows():
    labels = _source(config=SceneConfig(garments=(0, 1))).read(np.arange(12))["labels"]
    assert 0 < labels.sum() < 12


def test_garments_that_are_all_too_small(monkeypatch):
    monkeypatch.setattr(wake_scenes, "_TRIES", 3)
    monkeypatch.setattr(wake_scenes, "_LEAST_SHARE", 0.5)
    with pytest.raises(ValueError, match=r"none of 3 scenes showed 'Bag' on 50.0% .* raise scale"):
        _source().read(np.arange(40))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"garment": "bag"}, "no garment 'bag': choose one of T-shirt"),
        ({"length": 0}, "0 scenes of seed 0"),
        ({"seed": -1}, "of seed -1"),
        ({"size": (16, 32)}, "too small"),
        ({"config": SceneConfig(garments=(0, 0))}, "needs one"),
    ],
)
def test_bad_input(options, match):
    with pytest.raises(ValueError, match=match):
        _source(**options)
