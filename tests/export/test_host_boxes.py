import functools

import numpy as np
import pytest
from traced import jit

from attokit.export import host_boxes
from attokit.zoo.anchors import anchor_boxes_xyxy
from attokit.zoo.detections import DetectionConfig, detect
from attokit.zoo.proposals import ProposalConfig, propose

RANDOM = np.random.default_rng(0)
SIZE = (96, 128)
ANCHORS = anchor_boxes_xyxy(
    [(12, 16), (6, 8)], steps=[(8, 8), (16, 16)], sizes=(24.0, 48.0), ratios=(0.5, 1.0, 2.0)
)
COUNT = sum(map(len, ANCHORS))


def _steps(*shape):
    """Returns numbers among which many are equal."""
    return (RANDOM.integers(-20, 20, shape) / 8).astype(np.float32)


def _as_settings(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_proposals_are_those_of_the_zoo(count):
    config = ProposalConfig(count=count, per_level=90, iou_threshold=0.5, least_side=5.0)
    scores, offsets = _steps(COUNT), _steps(COUNT, 4)
    boxes, valid = host_boxes.propose_boxes(
        scores, offsets, ANCHORS, image_size=SIZE, **_as_settings(config)
    )
    own = functools.partial(propose, anchors_xyxy=ANCHORS, image_size=SIZE, config=config)
    wanted = jit(lambda scores, offsets: own(scores, offsets))(scores, offsets)
    np.testing.assert_array_equal(valid, wanted.valid)
    np.testing.assert_allclose(boxes, wanted.boxes_xyxy, atol=1e-4)


@pytest.mark.parametrize("shapes", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_detections_are_those_of_the_zoo(shapes):
    config = DetectionConfig(count=20, candidates=60, iou_threshold=0.4)
    low = RANDOM.uniform(0, 60, (40, 2))
    boxes = np.concatenate([low, low + RANDOM.uniform(0, 40, low.shape)], 1).astype(np.float32)
    logits, offsets, valid = _steps(40, 5), _steps(40, shapes, 4), np.arange(40) % 7 > 0
    found = host_boxes.detect_boxes(
        logits, offsets, boxes, valid, image_size=SIZE, **_as_settings(config)
    )
    own = functools.partial(detect, image_size=SIZE, config=config)
    wanted = jit(own)(logits, offsets, boxes, valid)
    count = int(wanted.valid.sum())
    assert len(found[0]) == count > 3
    np.testing.assert_allclose(found[0], wanted.boxes_xyxy[:count], atol=1e-4)
    np.testing.assert_allclose(found[1], wanted.scores[:count], rtol=1e-5)
    np.testing.assert_array_equal(found[2], wanted.classes[:count])


def test_nothing_is_found_where_nothing_is_real():
    boxes, scores, classes = host_boxes.detect_boxes(
        np.zeros((0, 3), np.float32),
        np.zeros((0, 1, 4), np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros(0, bool),
        image_size=SIZE,
        **_as_settings(DetectionConfig()),
    )
    assert boxes.shape == (0, 4)
    assert scores.size == classes.size == 0


def test_a_box_that_overlaps_by_the_threshold_itself_stays():
    boxes = np.asarray([[0, 0, 20, 30], [0, 10, 20, 40], [0, 0, 20, 31]], np.float32)
    real = np.ones(3, bool)
    np.testing.assert_array_equal(host_boxes.suppress(boxes, real, 0.5), [0, 1])
    groups = np.asarray([1, 1, 2])
    np.testing.assert_array_equal(host_boxes.suppress(boxes, real, 0.5, groups), [0, 1, 2])
