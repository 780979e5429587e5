import functools

import jax
import numpy as np
import pytest
from traced import jit

from attokit.train.rpn_targets import (
    RPNTargetConfig,
    anchor_targets,
    match_anchors_to_objects,
)
from attokit.zoo.anchors import anchor_boxes_xyxy

ANCHORS = np.concatenate(
    anchor_boxes_xyxy(
        [(8, 8), (4, 4)], steps=[(8, 8), (16, 16)], sizes=(16, 32), ratios=(0.5, 1.0, 2.0)
    )
)
BOXES = np.array(
    [
        [8, 8, 24, 24],  # exactly an anchor's shape, between cells
        [0, 16, 40, 40],
        [47, 41, 51, 44],  # small: only its best anchors
        [5, 5, 60, 60],  # does not count
        [50, 2, 62, 14],
        [0, 0, 0, 0],
    ],
    np.float32,
)
LABELS = np.array([2, 1, 3, -1, 1, 0], np.int32)
CONFIG = RPNTargetConfig(positive=0.6, negative=0.3, count=40)
_match = jit(functools.partial(match_anchors_to_objects, config=CONFIG))
_targets = jit(functools.partial(anchor_targets, config=CONFIG))


def _common(a, b):
    return np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))


def _area(box):
    return np.prod(box[2:] - box[:2])


def _iou(a, b):
    return _common(a, b) / (_area(a) + _area(b) - _common(a, b))


def _by_loops():
    """Returns, per anchor, the row of its object, -1 for nothing, -2 for neither."""
    objects = [i for i in range(len(BOXES)) if LABELS[i] > 0]
    best_of = {i: max(_iou(BOXES[i], anchor) for anchor in ANCHORS) for i in objects}
    out = []
    for anchor in ANCHORS:
        overlaps = {i: _iou(BOXES[i], anchor) for i in objects}
        row = max(objects, key=lambda i: (overlaps[i], -i))
        low_quality = any(
            overlaps[i] > 0 and np.isclose(overlaps[i], best_of[i], rtol=1e-6) for i in objects
        )
        on_ignored = any(
            _common(anchor, box) > _area(anchor) / 2
            for box, label in zip(BOXES, LABELS, strict=True)
            if label < 0
        )
        if overlaps[row] >= CONFIG.positive or low_quality:
            out.append(row)
        elif overlaps[row] < CONFIG.negative and not on_ignored:
            out.append(-1)
        else:
            out.append(-2)
    return np.array(out)


def test_matches_are_those_of_the_loop():
    matches = jax.tree.map(np.asarray, _match(BOXES, LABELS, ANCHORS))
    want = _by_loops()
    assert min(np.sum(want >= 0), np.sum(want == -1), np.sum(want == -2)) >= 5
    assert np.array_equal(matches.positive, want >= 0)
    assert np.array_equal(matches.negative, want == -1)
    assert np.array_equal(matches.row[want >= 0], want[want >= 0])
    assert {0, 1, 2, 4} == set(want[want >= 0])  # every object has its anchors


def test_targets_are_a_sample_of_the_matches():
    matches = jax.tree.map(np.asarray, _match(BOXES, LABELS, ANCHORS))
    targets = jax.tree.map(np.asarray, _targets(jax.random.key(0), BOXES, LABELS, ANCHORS))
    positives = min(20, int(matches.positive.sum()))
    assert np.array_equal(targets.positive, np.arange(40) < positives)
    assert np.all(targets.valid)
    assert np.all(matches.negative[targets.places[positives:]])
    for place, offsets in zip(targets.places[:positives], targets.offsets, strict=False):
        assert matches.positive[place]
        anchor, box = ANCHORS[place], BOXES[matches.row[place]]
        size, own = anchor[2:] - anchor[:2], box[2:] - box[:2]
        centres = (box[2:] + box[:2] - anchor[2:] - anchor[:2]) / 2 / size
        np.testing.assert_allclose(offsets, [*centres, *np.log(own / size)], atol=1e-5)
    assert not np.any(targets.offsets[positives:])


def test_an_image_without_objects_has_only_negatives():
    nothing = np.zeros(len(BOXES), np.int32)
    targets = _targets(jax.random.key(0), BOXES, nothing, ANCHORS)
    assert not np.any(targets.positive)
    assert np.all(targets.valid)
    assert np.all(np.isfinite(targets.offsets))


def test_refuses_thresholds_that_cross():
    with pytest.raises(ValueError, match=r"negative=0\.8, positive=0\.7"):
        RPNTargetConfig(negative=0.8)
