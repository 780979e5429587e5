import functools

import jax
import numpy as np
import pytest
from traced import jit

from attokit.train.roi_sampling import RoISamplingConfig, sample_regions

BOXES = np.array([[4, 4, 20, 20], [30, 10, 60, 30], [8, 40, 60, 62], [0, 0, 0, 0]], np.float32)
LABELS = np.array([2, 5, -1, 0], np.int32)


def _proposals():
    """Returns proposals near the objects, anywhere, on what does not count, and padding."""
    rng = np.random.default_rng(0)
    near = BOXES[rng.integers(0, 2, 12)] + rng.normal(0, 2.5, (12, 4))
    corner = rng.random((16, 2)) * 44
    anywhere = np.concatenate([corner, corner + 4 + rng.random((16, 2)) * 14], 1)
    ignored = [[10, 42, 30, 60], [10, 36, 50, 44]]  # the second by less than half
    proposals = np.concatenate([near, anywhere, ignored, np.zeros((5, 4))]).astype(np.float32)
    return proposals, np.arange(len(proposals)) < 30


def _common(a, b):
    return np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))


def _area(box):
    return np.prod(box[2:] - box[:2])


def _by_loops(proposals, valid):
    """Returns the regions with an object, as (box, row), and those without."""
    positives, negatives = [], []
    for region in [*BOXES[:2], *proposals[valid]]:
        overlaps = [
            _common(region, box) / (_area(region) + _area(box) - _common(region, box))
            for box in BOXES[:2]
        ]
        row = int(np.argmax(overlaps))
        if overlaps[row] >= 0.5:
            positives.append((tuple(region), row))
        elif _common(region, BOXES[2]) <= _area(region) / 2:
            negatives.append(tuple(region))
    return positives, negatives


def _sample(count, share):
    config = RoISamplingConfig(count=count, positive_share=share)
    draw = jit(functools.partial(sample_regions, config=config))
    return jax.tree.map(np.asarray, draw(jax.random.key(0), *_proposals(), BOXES, LABELS))


def test_all_regions_are_those_of_the_loop():
    regions = _sample(39, 1.0)
    positives, negatives = _by_loops(*_proposals())
    assert min(len(positives), len(negatives)) > 8
    first = len(positives)
    assert np.array_equal(regions.valid, np.arange(39) < first + len(negatives))
    found = zip(map(tuple, regions.boxes_xyxy[:first]), regions.rows[:first], strict=True)
    assert sorted(found) == sorted(positives)
    rest = regions.boxes_xyxy[first : first + len(negatives)]
    assert sorted(map(tuple, rest)) == sorted(negatives)
    assert np.array_equal(regions.labels[:first], LABELS[regions.rows[:first]])
    assert not np.any(regions.labels[first:])
    assert not np.any(regions.boxes_xyxy[first + len(negatives) :])
    for box, row, offsets in zip(
        regions.boxes_xyxy[:first], regions.rows, regions.offsets, strict=False
    ):
        target, size = BOXES[row], box[2:] - box[:2]
        centres = (target[2:] + target[:2] - box[2:] - box[:2]) / 2 / size
        sides = np.log((target[2:] - target[:2]) / size)
        np.testing.assert_allclose(offsets, [*10 * centres, *5 * sides], atol=1e-4)
    assert not np.any(regions.offsets[first:])


def test_shares_are_kept():
    regions = _sample(16, 0.25)
    assert np.array_equal(regions.labels > 0, np.arange(16) < 4)
    assert np.all(regions.valid)
    assert RoISamplingConfig(count=16).positives == 4


def test_refuses_a_threshold_of_nothing():
    with pytest.raises(ValueError, match="positive=0"):
        RoISamplingConfig(positive=0)
