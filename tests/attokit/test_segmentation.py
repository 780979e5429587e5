import dataclasses

import jax
import numpy as np
import pytest

from attokit.predictor import Predictor
from attokit.segmentation import check_outputs, class_ids, details, evaluate, predict


def _predictor(outputs, num_classes=3):
    return Predictor(
        name="squares", task="segmentation", image_shape=(16, 16, 3), num_classes=num_classes,
        class_names=None, data=None, outputs=outputs,
    )  # fmt: skip


def _ids(images):
    """The right answer: classes differ by brightness."""
    return np.clip((images.mean(-1).astype(int) + 20) // 100, 0, 2)


def _one_hot(images):
    return np.eye(3, dtype=np.float32)[_ids(images)]


@pytest.mark.parametrize(
    "outputs", [_ids, _one_hot, lambda images: _ids(images)[:, ::4, ::4].astype(np.uint8)]
)
def test_perfect_networks_score_1(scenes, outputs):
    num_classes = 3 if outputs is _one_hot else None
    predictor = _predictor(outputs, num_classes)
    metrics = evaluate(predictor, scenes, scenes.split("test"), batch_size=8)
    assert metrics["mean_iou"] == metrics["pixel_accuracy"] == 1.0
    assert ("loss" in metrics) == (num_classes is not None)
    assert metrics["confusion"].sum() == 21 * 16 * 16


def test_known_iou(scenes):
    """A network that says 1 everywhere: IoU is the share of class 1, and 0 elsewhere."""
    predictor = _predictor(lambda images: np.ones(images.shape[:3], np.int32), None)
    metrics = evaluate(predictor, scenes, scenes.split("test"))
    share = (scenes.split("test").read(np.arange(21))["masks"] == 1).mean()
    assert metrics["mean_iou"] == pytest.approx(share / 3)
    assert metrics["pixel_accuracy"] == pytest.approx(share)
    table = details(metrics, scenes.class_names)
    assert list(table.columns[0].cells) == ["background", "grey", "bright"]
    assert list(table.columns[1].cells) == ["0.0000", f"{share:.4f}", "0.0000"]


def test_a_class_that_nobody_names_has_no_iou():
    table = details({"confusion": np.diag([3, 1, 0])}, ("a", "b", "c"))
    assert list(table.columns[1].cells) == ["1.0000", "1.0000", "none"]
    assert list(table.columns[2].cells) == ["75.0 %", "25.0 %", "0.0 %"]


def test_other_classes(scenes):
    many = _predictor(lambda images: np.zeros((*images.shape[:3], 4), np.float32), 4)
    with pytest.raises(ValueError, match="squares has 4 classes, scenes has 3"):
        evaluate(many, scenes, scenes.split("test"))
    ids = _predictor(lambda images: np.full(images.shape[:3], 7), None)
    with pytest.raises(ValueError, match="squares has 8 classes, scenes has 3"):
        evaluate(ids, scenes, scenes.split("test"))
    named = dataclasses.replace(_predictor(_ids, None), class_names=("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="squares has 4 classes, scenes has 3"):
        evaluate(named, scenes, scenes.split("test"))


def test_class_ids_of_smaller_logits_are_resized():
    logits = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    wanted = jax.image.resize(logits, (2, 16, 16, 3), "bilinear").argmax(-1)
    np.testing.assert_array_equal(class_ids(logits, (16, 16)), wanted)


def test_outputs_are_logits_of_pixels(scenes):
    for size in (16, 4):
        check_outputs("x", np.zeros((1, size, size, 3)), scenes)
    for shape, text in (
        ((1, 16, 16), "leave output=argmax to attokit export"),
        ((1, 3), "not logits of pixels"),
        ((1, 7, 7, 3), "not logits of pixels"),
        ((1, 16, 16, 4), "set num_classes=3"),
    ):
        with pytest.raises(ValueError, match=text):
            check_outputs("x", np.zeros(shape), scenes)


def test_nothing_is_written_if_an_image_is_none(tmp_path, console):
    with pytest.raises(ValueError, match="cannot read the image"):
        predict(_predictor(_ids), [tmp_path / "no.png"], console, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
