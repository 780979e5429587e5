import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from attokit.instance_segmentation import check_outputs, details, evaluate, predict
from attokit.predictor import Predictor
from attokit.train import load_scenes

SIZE = (64, 64)


@pytest.fixture(scope="module")
def scenes():
    return load_scenes(SIZE, task="instance_segmentation", train=2, test=5)


def _truth(batch):
    """What a perfect network would give: the objects themselves."""
    return {
        "boxes": batch["boxes"],
        "scores": np.where(batch["box_labels"] > 0, 0.9, 0).astype(np.float32),
        "classes": batch["box_labels"],
        "masks": np.float32(batch["instance_masks"]) / np.float32(255),
        "valid": batch["box_labels"] > 0,
    }


def _predictor(scenes, change=lambda outputs: outputs, **fields):
    """A network that knows the test scenes by their pixels."""
    everything = scenes.split("test").read(np.arange(5))

    def outputs(images):
        rows = [
            int(np.argmin([np.abs(i.astype(int) - e).sum() for e in everything["images"]]))
            for i in images
        ]
        return change({name: array[rows] for name, array in _truth(everything).items()})

    known = {"name": "known", "task": "instance_segmentation", "image_shape": (*SIZE, 3),
             "num_classes": 11, "class_names": scenes.class_names, "data": None}  # fmt: skip
    return Predictor(**known | {"outputs": outputs} | fields)


def test_perfect_networks_score_1(scenes):
    metrics = evaluate(_predictor(scenes), scenes, scenes.split("test"), batch_size=2)
    assert metrics["box_ap"] == metrics["mask_ap50"] == 1.0
    table = details(metrics, scenes.class_names)
    assert set(table.columns[1].cells) == set(table.columns[2].cells) <= {"1.0000", "none"}
    assert list(table.columns[0].cells) == list(scenes.class_names[1:])


def test_masks_decide_apart_from_boxes(scenes):
    empty = _predictor(scenes, lambda outputs: outputs | {"masks": 0 * outputs["masks"]})
    metrics = evaluate(empty, scenes, scenes.split("test"))
    assert (metrics["box_ap50"], metrics["mask_ap50"]) == (1.0, 0.0)


def test_other_classes(scenes):
    with pytest.raises(ValueError, match="known has 3 classes with the background, scenes has 11"):
        evaluate(_predictor(scenes, num_classes=3), scenes, scenes.split("test"))


def test_outputs_of_another_kind(scenes):
    check_outputs("good", dict.fromkeys(("boxes", "scores", "classes", "masks", "valid")), scenes)
    for outputs in (np.zeros(3), {"boxes": 0, "scores": 0}):
        with pytest.raises(ValueError, match="does not give boxes with masks: choose a Mask R-CNN"):
            check_outputs("unet", outputs, scenes)


def test_pictures_of_what_is_found(scenes, tmp_path, capsys):
    batch = scenes.split("test").read(np.arange(1))
    Image.fromarray(batch["images"][0]).save(tmp_path / "scene.png")
    console = Console(width=200)
    predict(_predictor(scenes), [tmp_path / "scene.png"], console, output=tmp_path / "out")
    text = capsys.readouterr().out
    label = scenes.class_names[batch["box_labels"][0, 0]]
    assert label in text and "0.90" in text
    assert (tmp_path / "out" / "scene_boxes.png").stat().st_size > 1000
    predict(_predictor(scenes), [tmp_path / "scene.png"], console, output=tmp_path, score=0.95)
    assert "nothing" in capsys.readouterr().out
