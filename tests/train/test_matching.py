import functools

import jax
import numpy as np
import pytest

from attokit.train.average_precision import iou_matrix
from attokit.train.matching import MatchConfig, is_covered, match_anchors
from attokit.zoo.box_coder import cxcywh_to_xyxy
from attokit.zoo.prior_boxes import prior_boxes_cxcywh

CONFIG = MatchConfig()
PRIORS = prior_boxes_cxcywh((32, 48), steps=(8, 8, 16), sizes=(8, 16, 32))
ANCHORS = np.asarray(cxcywh_to_xyxy(PRIORS)) * np.float32([48, 32, 48, 32])
_MATCH = jax.jit(functools.partial(match_anchors, config=CONFIG))
_ROWS = 6


def match(boxes, labels, anchors):
    """Fills up to one number of rows, so that one compilation does for all."""
    missing = _ROWS - len(labels)
    return _MATCH(np.pad(boxes, ((0, missing), (0, 0))), np.pad(labels, (0, missing)), anchors)


def _oracle(boxes, labels, anchors):
    """The two stages, one box and one anchor after the other."""
    objects = [i for i, label in enumerate(labels) if label > 0]
    overlaps = {i: iou_matrix(boxes[i][None], anchors)[0].astype(np.float32) for i in objects}
    owner, second = {}, []
    for p in range(len(anchors)):
        best = max(((overlaps[i][p], -i) for i in objects), default=(0, 0))
        if best[0] >= 0.35:
            owner[p] = -best[1]
        elif best[0] > 0.1:
            second.append((best[0], p, -best[1]))
    for i in objects:
        if overlaps[i].max() > 0:
            owner[int(overlaps[i].argmax())] = i
    peaks = [overlaps[i].max() for i in objects]
    count = (sum(x >= 0.35 for x in peaks) + sum(x >= 0.5 for x in peaks)) // 2
    second = sorted((x for x in second if x[1] not in owner), key=lambda x: (-x[0], x[1]))
    return owner | {p: i for _, p, i in second[:count]}


def _random_boxes(rng, count):
    centre = rng.uniform(0, 1, (count, 2)) * [48, 32]
    half = np.exp(rng.uniform(0, 3, (count, 2)))
    return np.concatenate([centre - half, centre + half], -1).astype(np.float32)


def test_equals_the_oracle_on_random_images():
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(40):
        boxes, labels = _random_boxes(rng, 6), rng.integers(0, 4, 6).astype(np.int32)
        found, wanted = match(boxes, labels, ANCHORS), _oracle(boxes, labels, ANCHORS)
        np.testing.assert_array_equal(np.flatnonzero(found.positive), sorted(wanted))
        for anchor, box in wanted.items():
            assert int(found.box[anchor]) == box
        np.testing.assert_array_equal(found.negative, ~found.positive)
        seen += len(wanted)
    assert seen > 200


def test_every_object_has_an_anchor_even_one_smaller_than_all_anchors():
    boxes = np.array([[20, 9, 21, 10], [0, 0, 0, 0]], np.float32)
    found = match(boxes, np.array([3, 0], np.int32), ANCHORS)
    assert int(found.positive.sum()) == 1
    left, top, right, bottom = ANCHORS[int(found.positive.argmax())]
    assert left <= 20 and right >= 21 and top <= 9 and bottom >= 10


def test_a_later_box_wins_an_anchor():
    boxes = np.array([[16, 8, 24, 16], [16, 8, 24, 16]], np.float32)
    found = match(boxes, np.array([1, 2], np.int32), ANCHORS)
    place = int(np.flatnonzero(np.isclose(ANCHORS, boxes[0]).all(-1))[0])
    assert bool(found.positive[place]) and int(found.box[place]) == 1


@pytest.mark.parametrize(
    "boxes",
    [
        np.zeros((2, 4)),
        [[5, 5, 5, 9], [9, 9, 2, 2]],  # no area, and a negative one
        [[500, 500, 510, 510], [-90, 0, -80, 9]],  # meet no anchor
        np.full((2, 4), np.nan),
    ],
)
def test_nothing_to_find_leaves_every_anchor_negative(boxes):
    labels = np.zeros(2, np.int32) if np.isnan(boxes).any() else np.array([1, 2], np.int32)
    found = match(np.array(boxes, np.float32), labels, ANCHORS)
    assert not found.positive.any() and found.negative.all()


def test_anchors_on_what_does_not_count_are_neither():
    boxes = np.array([[0, 0, 24, 32], [32, 8, 40, 16]], np.float32)
    found = match(boxes, np.array([-1, 1], np.int32), ANCHORS)
    neither = np.flatnonzero(~(found.positive | found.negative))
    clipped = np.maximum(np.minimum(ANCHORS[:, 2], 24) - np.maximum(ANCHORS[:, 0], 0), 0)
    height = np.maximum(np.minimum(ANCHORS[:, 3], 32) - np.maximum(ANCHORS[:, 1], 0), 0)
    area = (ANCHORS[:, 2:] - ANCHORS[:, :2]).prod(-1)
    np.testing.assert_array_equal(neither, np.flatnonzero(clipped * height > 0.5 * area))
    assert len(neither) and found.positive.any()


def test_a_batch_is_its_images():
    rng = np.random.default_rng(1)
    boxes = np.stack([_random_boxes(rng, 3) for _ in range(4)])
    labels = rng.integers(0, 2, (4, 3)).astype(np.int32)
    many = jax.jit(jax.vmap(functools.partial(match_anchors, config=CONFIG), (0, 0, None)))(
        boxes, labels, ANCHORS
    )
    for index in range(4):
        one = match(boxes[index], labels[index], ANCHORS)
        np.testing.assert_array_equal(many.positive[index], one.positive)


def test_thresholds_rise():
    with pytest.raises(ValueError, match=r"reserve=0.1, positive=0.6, good=0.5: give rising"):
        MatchConfig(positive=0.6)


def test_more_than_half_of_a_box_is_covered():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 5]], np.float32)
    others = np.array([[0, 0, 9, 2.5], [0, 0, 9, 9]], np.float32)
    got = jax.jit(is_covered)(boxes, others, np.array([True, False]))
    assert np.array_equal(got, [True, False])
