import numpy as np
import pytest

from attokit.train.average_precision import Found, area_under_curve, average_precision, iou_matrix


def found_of(answers, objects):
    """Answers (image, box, score, label) and objects (image, box, label) as `Found`."""
    images, boxes, scores, labels = zip(*answers, strict=True) if answers else ([], [], [], [])
    true_images, true_boxes, true_labels = zip(*objects, strict=True) if objects else ([], [], [])
    return Found(
        np.array(boxes, float).reshape(-1, 4), np.array(scores, float), np.array(labels, int),
        np.array(images, int), np.array(true_boxes, float).reshape(-1, 4),
        np.array(true_labels, int), np.array(true_images, int),
    )  # fmt: skip


A, B, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)


def test_overlaps():
    found = iou_matrix(np.array([A, (0, 0, 0, 0)]), np.array([A, (5, 0, 15, 10), FAR]))
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [0, 0, 0]])


def test_area_by_hand():
    # Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: the envelope is 1, then 2/3.
    assert area_under_curve(np.array([True, False, True]), 2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert area_under_curve(np.array([], bool), 3) == 0.0
    assert area_under_curve(np.array([True]), 4) == 0.25


def test_every_object_is_found_once():
    answers = [(0, A, 0.9, 1), (0, A, 0.8, 1), (0, B, 0.7, 1)]
    assert average_precision(found_of(answers, [(0, A, 1), (0, B, 1)]), 1) == pytest.approx(
        0.5 + 0.5 * 2 / 3
    )


def test_place_image_and_class_must_be_right():
    objects = [(0, A, 1), (1, A, 1)]
    for answer in ((0, FAR, 0.9, 1), (2, A, 0.9, 1), (0, A, 0.9, 2), (0, (4, 0, 14, 10), 0.9, 1)):
        assert average_precision(found_of([answer], objects), 1) == 0.0
    close = (0, (0, 0, 10, 5), 0.9, 1)  # IoU of exactly one half
    assert average_precision(found_of([close], objects), 1) == 0.5
    assert average_precision(found_of([close], objects), 1, iou_threshold=0.51) == 0.0


def test_objects_that_do_not_count():
    answers = [(0, B, 0.9, 1), (0, B, 0.8, 1), (0, A, 0.7, 1)]
    found = found_of(answers, [(0, A, 1), (0, B, -1)])
    assert average_precision(found, 1) == 1.0
    assert np.isnan(average_precision(found_of(answers, [(0, B, -1)]), 1))


def test_order_of_answers_does_not_matter():
    rng = np.random.default_rng(0)
    boxes = [tuple(np.array(A) + 7 * k) for k in range(6)]
    answers = [
        (int(rng.integers(3)), boxes[rng.integers(6)], float(rng.random()), 1) for _ in range(30)
    ]
    objects = [(int(image), boxes[k], 1) for image in range(3) for k in (0, 2, 4)]
    value = average_precision(found_of(answers, objects), 1)
    assert 0 < value < 1
    assert average_precision(found_of(answers[::-1], objects[::-1]), 1) == pytest.approx(value)
