import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit

from attokit import zoo

N, OUTPUTS = 600, 650


_select = jit(
    functools.partial(zoo.non_max_suppression, max_outputs=OUTPUTS, score_threshold=0.05),
    static_argnames="iou_threshold",
)


def _sequential(boxes, scores, iou_threshold, score_threshold=0.05):
    """Returns what is kept, box after box in order of score."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    area = size[:, 0] * size[:, 1]
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if not scores[i] > score_threshold:
            continue
        others = boxes[kept]
        common = np.minimum(boxes[i, 2:], others[:, 2:]) - np.maximum(boxes[i, :2], others[:, :2])
        overlap = np.prod(np.maximum(common, 0), axis=1)
        overlap = np.where((area[i] > 0) & (area[kept] > 0), overlap, 0)
        if not np.any(overlap / np.maximum(area[i] + area[kept] - overlap, 1e-30) > iou_threshold):
            kept.append(i)
    return kept


def _random(seed):
    """Returns crowded boxes: with ties, twice the same box, none of size, at the origin, below the threshold."""
    rng = np.random.default_rng(seed)
    centre, size = rng.random((N, 2)) * 4, rng.random((N, 2)) * 1.5 + 0.1
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1).astype(np.float32)
    scores = np.round(rng.random(N), 2).astype(np.float32)  # about six boxes of each score
    boxes[::7] = boxes[1::7][: len(boxes[::7])]
    boxes[5::50, 2:] = boxes[5::50, :2]  # no size
    boxes[6::60] = 0
    boxes[9::90] = boxes[9::90, [2, 3, 0, 1]]  # turned around
    return boxes, scores


@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.7])
def test_is_the_sequential_algorithm(iou_threshold):
    for seed in range(2):
        boxes, scores = _random(seed)
        indices, valid = _select(boxes, scores, iou_threshold=iou_threshold)
        want = _sequential(boxes, scores, iou_threshold)
        assert 50 < len(want) < 550
        assert np.array_equal(indices[valid], want)
        assert np.array_equal(valid, np.arange(OUTPUTS) < len(want))
        assert not np.any(indices[~valid])


def test_a_chain_is_settled_link_by_link():
    """Each box suppresses the next alone: every second one stays, after as many turns as there are links."""
    places = np.arange(40, dtype=np.float32)
    boxes = np.stack([places, 0 * places, places + 2, 0 * places + 1], 1)
    select = jit(functools.partial(zoo.non_max_suppression, iou_threshold=0.3, max_outputs=40))
    indices, valid = select(boxes, -places)
    assert np.array_equal(indices[valid], np.arange(0, 40, 2))


def test_the_best_fill_few_places_and_a_batch_is_its_images():
    boxes, scores = zip(*map(_random, range(2)), strict=True)
    select = functools.partial(
        zoo.non_max_suppression, iou_threshold=0.5, max_outputs=5, score_threshold=0.05
    )
    indices, valid = jit(jax.vmap(select))(np.stack(boxes), np.stack(scores))
    assert np.all(valid)
    for image in range(2):
        want = _sequential(boxes[image], scores[image], 0.5)[:5]
        assert np.array_equal(indices[image], want)


def test_no_box_above_the_threshold():
    boxes = jnp.asarray([[0.0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1], [3, 3, 4, 4]])
    scores = jnp.asarray([0.01, 0.02, np.nan, -np.inf])
    _, valid = _select(boxes, scores, iou_threshold=0.5)
    assert not np.any(valid)
    select = jit(functools.partial(zoo.non_max_suppression, iou_threshold=0.5, max_outputs=3))
    indices, valid = select(boxes, scores)
    assert np.array_equal(indices[valid], [1, 0])  # without NaN and padding


@pytest.mark.slow
def test_groups_are_apart():
    boxes, scores = _random(3)
    groups = np.random.default_rng(0).integers(0, 3, N)
    select = jit(functools.partial(zoo.non_max_suppression, iou_threshold=0.5, max_outputs=OUTPUTS))
    indices, valid = select(boxes, scores, groups=groups)
    kept = []
    for group in range(3):
        own = np.flatnonzero(groups == group)
        kept += own[_sequential(boxes[own], scores[own], 0.5, -np.inf)].tolist()
    kept.sort(key=lambda i: (-scores[i], i))
    assert np.array_equal(indices[valid], kept)


def test_refuses_bad_numbers():
    boxes, scores = jnp.zeros((2, 4)), jnp.zeros(2)
    with pytest.raises(ValueError, match=r"iou_threshold=1\.5"):
        zoo.non_max_suppression(boxes, scores, iou_threshold=1.5, max_outputs=1)
    with pytest.raises(ValueError, match="max_outputs=0"):
        zoo.non_max_suppression(boxes, scores, iou_threshold=0.5, max_outputs=0)
