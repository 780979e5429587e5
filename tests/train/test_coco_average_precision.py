import numpy as np
import pytest

from attokit.train.average_precision import Found
from attokit.train.coco_average_precision import coco_precision

A, B = [0, 0, 40, 40], [60, 0, 100, 40]


def _found(answers, objects):
    boxes, scores, labels, images = (np.array(c) for c in zip(*answers, strict=True))
    true_boxes, true_labels, true_images = (np.array(c) for c in zip(*objects, strict=True))
    return Found(boxes, scores, labels, images, true_boxes, true_labels, true_images)


def test_known_values():
    objects = [(A, 1, 0), (B, 1, 0), (A, 2, 1)]
    wide = [0, 0, 40, 32]  # IoU 0.8 with A: right up to the threshold 0.80
    found = _found([(wide, 0.9, 1, 0), (B, 0.8, 1, 0), (B, 0.7, 2, 1)], objects)
    values = coco_precision(found, 2, 4)
    assert values.shape == (10, 3)
    np.testing.assert_allclose(values[:7, 0], 1.0)
    # From 0.85 on the first answer is wrong: precision 1/2 up to recall 1/2, of 101 points 51.
    np.testing.assert_allclose(values[7:, 0], 0.5 * 51 / 101, rtol=1e-6)
    np.testing.assert_array_equal(values[:, 1], 0)
    assert np.isnan(values[:, 2]).all()


def test_crowds_neither_count_nor_harm():
    objects = [(A, 1, 0), (B, -1, 0)]
    answers = [(B, 0.9, 1, 0), (B, 0.8, 1, 0), (A, 0.7, 1, 0)]
    np.testing.assert_allclose(coco_precision(_found(answers, objects), 1, 2), 1.0)


def test_nothing_found_and_nothing_to_find():
    empty = np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros(0, int)
    objects = np.array([A]), np.array([2]), np.array([0])
    values = coco_precision(Found(*empty, *objects), 1, 3)
    np.testing.assert_array_equal(values[:, 1], 0)
    assert np.isnan(values[:, 0]).all()
    answers = np.array([A]), np.array([0.5]), np.array([1]), np.array([0])
    nothing = np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int)
    assert np.isnan(coco_precision(Found(*answers, *nothing), 1, 3)).all()


def test_voc_and_coco_differ_only_by_sampling():
    from attokit.train.average_precision import average_precision

    rng = np.random.default_rng(0)
    objects = [([50 * k, 0, 50 * k + 40, 40], 1, i) for i in range(8) for k in range(4)]
    answers = [
        (np.add(box, rng.normal(0, 6, 4)), float(rng.random()), 1, image)
        for box, _, image in objects
    ] * 2
    found = _found(answers, objects)
    voc = average_precision(found, 1)
    assert 0.2 < voc < 0.95
    assert coco_precision(found, 8, 2)[0, 0] == pytest.approx(voc, abs=0.02)
