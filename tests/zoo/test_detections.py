import functools

import numpy as np
import pytest
from traced import jit

from attokit.zoo.detections import DetectionConfig, detect

SIZE, CLASSES = (48, 64), 4
CONFIG = DetectionConfig(count=20, candidates=60, score_threshold=0.2, iou_threshold=0.4)
_detect = jit(functools.partial(detect, image_size=SIZE, config=CONFIG))


def _iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    return common / (sum(areas) - common)


def _by_loops(logits, offsets, boxes, valid):
    """Returns (score, class, box), best first."""
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    pairs = [
        (scores[i, k], k, i)
        for i in range(len(boxes))
        for k in range(1, CLASSES)
        if valid[i] and scores[i, k] > CONFIG.score_threshold
    ]
    kept = []
    for score, k, i in sorted(pairs, reverse=True):
        x0, y0, x1, y1 = boxes[i]
        dx, dy, dw, dh = offsets[i, k if offsets.shape[1] > 1 else 0] / [10, 10, 5, 5]
        width, height = (x1 - x0) * np.exp(dw), (y1 - y0) * np.exp(dh)
        x, y = (x0 + x1) / 2 + dx * (x1 - x0), (y0 + y1) / 2 + dy * (y1 - y0)
        box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        box = np.clip(box, 0, [SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
        if min(box[2:] - box[:2]) < CONFIG.least_side:
            continue
        rivals = (other for _, c, other in kept if c == k)
        if all(_iou(box, other) <= CONFIG.iou_threshold for other in rivals):
            kept.append((score, k, box))
    return kept[: CONFIG.count]


@pytest.mark.parametrize("shapes", [CLASSES, pytest.param(1, marks=pytest.mark.slow)])
def test_is_the_loop_over_regions_and_classes(shapes):
    rng = np.random.default_rng(shapes)
    corner = rng.random((25, 2)) * [50, 36]
    boxes = np.concatenate([corner, corner + 4 + rng.random((25, 2)) * 20], 1)
    logits = rng.normal(size=(25, CLASSES)) * 1.5
    offsets = rng.normal(size=(25, shapes, 4))
    valid = rng.random(25) < 0.8
    boxes[~valid] = 0
    inputs = [x.astype(np.float32) for x in (logits, offsets, boxes)]
    found = _detect(*inputs, valid)
    want = _by_loops(*(x.astype(float) for x in inputs), valid)
    count = len(want)
    assert 10 < count <= 20
    assert np.array_equal(found.valid, np.arange(20) < count)
    assert np.array_equal(found.classes[:count], [k for _, k, _ in want])
    np.testing.assert_allclose(found.scores[:count], [score for score, _, _ in want], atol=1e-6)
    np.testing.assert_allclose(found.boxes_xyxy[:count], [box for _, _, box in want], atol=1e-4)
    for padded in (found.boxes_xyxy, found.scores, found.classes):
        assert not np.any(padded[count:])


def test_nothing_to_find():
    logits = np.zeros((25, CLASSES), np.float32) + np.array([9, 0, 0, 0], np.float32)
    found = _detect(
        logits,
        np.zeros((25, CLASSES, 4), np.float32),
        np.zeros((25, 4), np.float32),
        np.ones(25, bool),
    )
    assert not np.any(found.valid)


def test_refuses_bad_numbers():
    with pytest.raises(ValueError, match="score_threshold=-1"):
        DetectionConfig(score_threshold=-1)
    with pytest.raises(ValueError, match="candidates=0"):
        DetectionConfig(candidates=0)
