import numpy as np
import pytest

from attokit.train import scenes
from attokit.train.garments import load_garments
from attokit.train.scene_drawing import SceneConfig
from attokit.train.scenes import load_scenes, scene_source

SIZE = (32, 48)


def _source(split="test", **options):
    return scene_source(split, **{"length": 9, "size": SIZE} | options)


def test_data_set(monkeypatch):
    monkeypatch.setattr(scenes, "load_garments", lambda split, folder: load_garments("test"))
    dataset = load_scenes(SIZE, train=5, test=3)
    assert (dataset.name, dataset.task) == ("scenes", "segmentation")
    assert dataset.image_shape == (*SIZE, 3)
    assert dataset.class_names[:2] == ("background", "T-shirt/top")
    assert dataset.num_classes == 11
    assert {split: len(source) for split, source in dataset.splits.items()} == {
        "train": 5,
        "test": 3,
    }
    batch = dataset.split("train").read(np.arange(5))
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "images": ((5, *SIZE, 3), np.uint8),
        "masks": ((5, *SIZE), np.uint8),
    }
    assert 0 < batch["masks"].max() <= 10
    # The same numbers and garments, but another stream.
    assert np.any(batch["images"][:3] != dataset.split("test").read(np.arange(3))["images"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_split_shows_its_own_garments(monkeypatch, split):
    asked = []
    monkeypatch.setattr(
        scenes, "load_garments", lambda *names: asked.append(names) or load_garments("test")
    )
    _source(split).read(np.arange(1))
    assert asked == [(split, None)]


def test_a_folder_replaces_the_training_garments_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(
        scenes, "load_garments", lambda *names: asked.append(names) or load_garments("test")
    )
    load_scenes(SIZE, folder="fashion")
    assert asked == [("train", "fashion"), ("test", None)]


def test_scenes_depend_on_index_and_seed_alone():
    source = _source()
    batch, again = source.read(np.array([4, 0, 7])), _source().read(np.array([7, 4]))
    np.testing.assert_array_equal(batch["images"][[2, 0]], again["images"])
    np.testing.assert_array_equal(batch["masks"][[2, 0]], again["masks"])
    assert np.any(batch["images"][0] != batch["images"][1])
    assert np.any(_source(seed=1).read(np.array([4]))["images"][0] != batch["images"][0])


def test_instances_are_padded():
    config = SceneConfig(garments=(1, 7))
    indices = np.arange(9)
    batch = _source(config=config, instances=True).read(indices)
    masks = _source(config=config).read(indices)["masks"]
    assert (batch["boxes"].shape, batch["boxes"].dtype) == ((9, 7, 4), np.float32)
    assert (batch["box_labels"].shape, batch["box_labels"].dtype) == ((9, 7), np.int32)
    counts = (batch["box_labels"] > 0).sum(1)
    assert counts.min() < 7 < counts.max() + 3
    for count, boxes, labels, instances, mask in zip(
        counts, batch["boxes"], batch["box_labels"], batch["instance_maps"], masks, strict=True
    ):
        assert instances.max() == count
        assert not labels[count:].any()
        assert not boxes[count:].any()
        np.testing.assert_array_equal(np.append(0, labels)[instances], mask)
        for number, box in enumerate(boxes[:count], 1):
            left, top, right, bottom = box.astype(int)
            assert np.any(instances[top:bottom, left:right] == number)


def test_scenes_for_detection_in_grey(monkeypatch):
    monkeypatch.setattr(scenes, "load_garments", lambda split, folder: load_garments("test"))
    dataset = load_scenes(SIZE, task="detection", channels=1, train=2, test=3)
    assert (dataset.task, dataset.image_shape) == ("detection", (*SIZE, 1))
    batch = dataset.split("test").read(np.arange(3))
    whole = _source(length=3, instances=True).read(np.arange(3))
    assert batch.keys() == whole.keys() - {"instance_maps"}
    for name in ("boxes", "box_labels"):
        np.testing.assert_array_equal(batch[name], whole[name])
    grey = whole["images"] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(batch["images"][..., 0], grey, atol=1)
    none = _source(instances=True, config=SceneConfig(garments=(0, 0))).read(np.arange(2))
    assert none["box_labels"].shape == (2, 1) and not none["box_labels"].any()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"channels": 2}, "scenes of 2 channels were asked: give 1 or 3"),
        ({"split": "val"}, "no split 'val'"),
        ({"size": (16, 64)}, "at least 32"),
        ({"seed": -1}, "seed of scenes is -1"),
        ({"length": 0}, "0 scenes were asked of split 'test'"),
    ],
)
def test_refuses_what_cannot_be_drawn(options, match):
    with pytest.raises(ValueError, match=match):
        _source(**options)
