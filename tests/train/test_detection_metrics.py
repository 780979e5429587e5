import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.detection_metrics import AveragePrecision
from attokit.train.detections import Detections
from attokit.train.metrics import compute_metrics

BOXES = np.array([[[0, 0, 10, 10], [20, 20, 40, 40]], [[5, 5, 9, 9], [0, 0, 0, 0]]], np.float32)
LABELS = np.array([[1, 2], [1, 0]], np.int32)


def _metric(boxes, labels, scores, mask=(1, 1)):
    detections = Detections(
        jnp.asarray(boxes), jnp.asarray(scores, jnp.float32), jnp.asarray(labels)
    )
    return AveragePrecision.of(detections, BOXES, LABELS, jnp.asarray(mask, jnp.float32), 4)


PERFECT = _metric(BOXES, LABELS, [[0.9, 0.8], [0.7, 0.0]])


def test_perfect_answers():
    values = PERFECT.compute()
    for name in ("ap50", "coco_ap", "coco_ap50", "coco_ap75"):
        assert values[name] == 1.0
    np.testing.assert_array_equal(values["ap50_by_class"], [1, 1, np.nan])


def test_values_stand_under_their_own_names():
    values = compute_metrics({"average_precision": PERFECT})
    assert set(values) == {"ap50", "coco_ap", "coco_ap50", "coco_ap75", "ap50_by_class"}
    assert isinstance(values["ap50"], float) and values["ap50_by_class"].shape == (3,)


def test_merging_is_seeing_all_images():
    wrong = _metric(BOXES + 100, LABELS, [[0.95, 0.8], [0.75, 0.0]])
    both = jax.device_get(PERFECT.on_host().merge(wrong.on_host()).compute())
    # Class 1: two of four objects, among answers in the order wrong, right, wrong, right.
    np.testing.assert_allclose(both["ap50_by_class"][0], 0.25 * (1 / 2 + 1 / 2), rtol=1e-6)
    # Class 2: of equal scores the first batch's counts first, and is right.
    np.testing.assert_allclose(both["ap50_by_class"][1], 0.5, rtol=1e-6)


def test_filling_and_unused_rows_are_left_out():
    half = _metric(BOXES, LABELS, [[0.9, 0.8], [0.7, 0.0]], mask=(1, 0))
    found, images = half.found()
    assert images == 1 and len(found.labels) == len(found.true_labels) == 2
    assert half.compute()["ap50"] == 1.0


def test_nothing_to_find_is_0_not_nan():
    nothing = AveragePrecision.of(
        Detections(jnp.zeros((1, 2, 4)), jnp.zeros((1, 2)), jnp.zeros((1, 2), jnp.int32)),
        np.zeros((1, 1, 4), np.float32), np.zeros((1, 1), np.int32), jnp.ones(1), 3,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="none of 1 images has an object that counts"):
        values = nothing.compute()
    assert values["ap50"] == values["coco_ap"] == 0.0
    assert np.isnan(values["ap50_by_class"]).all()


def test_an_object_without_area_is_not_missed():
    boxes = np.array([[[0, 0, 10, 10], [5, 5, 5, 9]]], np.float32)
    labels = np.array([[1, 1]], np.int32)
    answers = Detections(jnp.asarray(boxes[:, :1]), jnp.ones((1, 1)), jnp.ones((1, 1), jnp.int32))
    metric = AveragePrecision.of(answers, boxes, labels, jnp.ones(1), 2)
    assert metric.compute()["ap50"] == 1.0


def test_it_passes_through_jit_with_its_classes():
    same = jax.jit(lambda metric: metric)(PERFECT)
    assert same.num_classes == 4 and same.compute()["ap50"] == 1.0
