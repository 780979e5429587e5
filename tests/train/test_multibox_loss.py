import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.anchors import Anchors
from attokit.train.matching import MatchConfig, match_anchors
from attokit.train.multibox_loss import MultiBoxSums, hardest, multibox_sums, per_image, smooth_l1
from attokit.zoo.prior_boxes import prior_boxes_cxcywh

ANCHORS = Anchors.of_priors(prior_boxes_cxcywh((32, 32), steps=(8, 16), sizes=(8, 16)), (32, 32))
COUNT, CLASSES = len(ANCHORS.boxes_xyxy), 3
_RNG = np.random.default_rng(0)
OFFSETS = jnp.asarray(_RNG.normal(0, 2, (2, COUNT, 4)), jnp.float32)
LOGITS = jnp.asarray(_RNG.normal(0, 2, (2, COUNT, CLASSES)), jnp.float32)
BOXES = jnp.asarray([[[2, 3, 11, 9], [15, 15, 31, 30]], [[0, 0, 0, 0]] * 2], jnp.float32)
LABELS = jnp.asarray([[1, 2], [0, 0]], jnp.int32)
SUMS = jax.jit(functools.partial(multibox_sums, anchors=ANCHORS))


MATCH = jax.jit(
    jax.vmap(lambda b, c: match_anchors(b, c, jnp.asarray(ANCHORS.boxes_xyxy), MatchConfig()))
)


def _mean_loss(offsets, logits, boxes, labels):
    return per_image(multibox_sums(offsets, logits, boxes, labels, ANCHORS)).mean()


GRADIENT = jax.jit(jax.value_and_grad(_mean_loss, argnums=(0, 1)))


def test_smooth_l1_by_hand():
    np.testing.assert_allclose(
        smooth_l1(jnp.array([0.0, 0.5, -1.0, 3.0])), [0, 0.125, 0.5, 2.5], rtol=1e-6
    )


def test_hardest_of_candidates():
    costs, candidates = jnp.array([1.0, 9, 3, 3, 2]), jnp.array([True, False, True, True, True])
    find = jax.jit(hardest)
    for count, want in ((0, []), (1, [2]), (2, [2, 3]), (9, [0, 2, 3, 4])):
        np.testing.assert_array_equal(np.flatnonzero(find(costs, candidates, count)), want)


def _oracle(index):
    """The sums of one image in NumPy, from its matches."""
    logits, offsets = np.asarray(LOGITS[index], np.float64), np.asarray(OFFSETS[index], np.float64)
    matches = MATCH(BOXES, LABELS)
    positive, rows = np.asarray(matches.positive[index]), np.asarray(matches.box[index])
    cost = np.log(np.exp(logits).sum(-1))[:, None] - logits
    location = confidence = 0.0
    for p in np.flatnonzero(positive):
        box, (left, top, right, bottom) = np.asarray(BOXES[index, rows[p]]), ANCHORS.boxes_xyxy[p]
        w, h = right - left, bottom - top
        want = [
            10 * ((box[0] + box[2]) / 2 - (left + right) / 2) / w,
            10 * ((box[1] + box[3]) / 2 - (top + bottom) / 2) / h,
            5 * np.log((box[2] - box[0]) / w),
            5 * np.log((box[3] - box[1]) / h),
        ]
        size = np.abs(offsets[p] - want)
        location += np.where(size < 1, size**2 / 2, size - 0.5).sum()
        confidence += cost[p, int(LABELS[index, rows[p]])]
    count = max(positive.sum(), 1)
    confidence += np.sort(cost[~positive, 0])[::-1][: 3 * count].sum()
    return location, confidence, count


def test_sums_equal_the_oracle():
    sums = SUMS(OFFSETS, LOGITS, BOXES, LABELS)
    for index in range(2):
        location, confidence, count = _oracle(index)
        assert float(sums.location[index]) == pytest.approx(location, rel=1e-4)
        assert float(sums.confidence[index]) == pytest.approx(confidence, rel=1e-5)
        assert int(sums.weight[index]) == count
    assert float(sums.location[1]) == 0.0 and float(sums.location[0]) > 0


def test_the_mean_counts_every_positive_anchor_alike():
    sums = MultiBoxSums(jnp.array([6.0, 0.0]), jnp.array([3.0, 3.0]), jnp.array([5.0, 1.0]))
    assert float(per_image(sums).mean()) == pytest.approx(12 / 6)


@pytest.mark.parametrize(
    "boxes",
    [
        np.zeros((2, 2, 4)),  # no object in the batch: every anchor is negative
        [[[4, 4, 4, 8], [9, 9, 3, 3]]] * 2,  # boxes of no and of negative size
        [[[5, 5, 5.4, 5.3], [30, 30, 31, 31]]] * 2,  # smaller than the smallest anchor
        [[[-1e4, -1e4, 1e4, 1e4], [0, 0, 32, 32]]] * 2,  # larger than the image
    ],
)
def test_loss_and_gradient_are_finite_and_tell_something(boxes):
    boxes = jnp.asarray(boxes, jnp.float32)
    labels = jnp.where((boxes == 0).all(-1), 0, 1).astype(jnp.int32)
    value, gradients = GRADIENT(OFFSETS, LOGITS, boxes, labels)
    assert np.isfinite(value) and value > 0
    assert all(np.isfinite(g).all() for g in gradients)
    assert np.abs(gradients[1]).max() > 0  # an image without an object teaches not to find one


def test_what_unused_rows_hold_changes_nothing():
    junk = BOXES.at[1].set(jnp.nan)
    value, gradients = GRADIENT(OFFSETS, LOGITS, junk, LABELS)
    want, wanted = GRADIENT(OFFSETS, LOGITS, BOXES, LABELS)
    assert value == want
    for found, expected in zip(gradients, wanted, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_perfect_heads_cost_nearly_nothing():
    place = MATCH(BOXES, LABELS)
    targets = jnp.take_along_axis(BOXES, place.box[..., None], 1)
    targets = jnp.where(place.positive[..., None], targets, ANCHORS.boxes_xyxy[None])
    classes = jnp.where(place.positive, jnp.take_along_axis(LABELS, place.box, 1), 0)
    logits = 20 * jax.nn.one_hot(classes, CLASSES)
    sums = SUMS(ANCHORS.encode(targets), logits, BOXES, LABELS)
    np.testing.assert_allclose(sums.total, 0, atol=1e-4)
