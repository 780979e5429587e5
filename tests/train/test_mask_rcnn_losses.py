import jax
import numpy as np
import pytest
from traced import jit

from attokit.train.mask_rcnn_losses import (
    head_losses,
    mask_loss,
    proposal_losses,
    smooth_distance,
)
from attokit.train.roi_sampling import Regions
from attokit.train.rpn_targets import AnchorTargets


def _normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def _entropy(logit, target):
    share = 1 / (1 + np.exp(-np.float64(logit)))
    return -(target * np.log(share) + (1 - target) * np.log(1 - share))


def _smooth(values, targets):
    total = 0.0
    for d in np.abs(np.float64(values) - targets):
        total += 0.5 * 9 * d * d if d < 1 / 9 else d - 0.5 / 9
    return total


def test_proposal_losses_are_those_of_the_loop():
    objectness, offsets = _normal(2, 7), _normal(2, 7, 4)
    targets = AnchorTargets(
        places=np.array([[3, 1, 6, 0], [5, 2, 0, 0]]),
        positive=np.array([[True, True, False, False], [True, False, False, False]]),
        valid=np.array([[True] * 4, [True, True, False, False]]),
        offsets=_normal(2, 4, 4),
    )
    got = jit(proposal_losses)(objectness, offsets, targets)
    entropy, distance = np.zeros(2), np.zeros(2)
    for b, s in zip(*np.nonzero(targets.valid), strict=True):
        place = targets.places[b, s]
        entropy[b] += _entropy(objectness[b, place], targets.positive[b, s])
        if targets.positive[b, s]:
            distance[b] += _smooth(offsets[b, place], targets.offsets[b, s])
    np.testing.assert_allclose(got.objectness, entropy * 2 / 6, rtol=1e-5)
    np.testing.assert_allclose(got.boxes, distance * 2 / 6, rtol=1e-5)
    # Their mean is the sum over the batch per sampled anchor.
    np.testing.assert_allclose(np.mean(got.boxes), distance.sum() / 6, rtol=1e-5)


LABELS = np.array([[2, 1, 0], [3, 0, 0]], np.int32)
VALID = np.array([[True, True, True], [True, True, False]])


def _regions():
    offsets = np.where((LABELS > 0)[..., None], _normal(2, 3, 4), 0)
    return Regions(_normal(2, 3, 4), np.zeros_like(LABELS), LABELS, VALID, offsets)


@pytest.mark.parametrize("shapes", [4, 1])
def test_head_losses_are_those_of_the_loop(shapes):
    logits, offsets, regions = _normal(2, 3, 4), _normal(2, 3, shapes, 4), _regions()
    got = jit(head_losses)(logits, offsets, regions)
    entropy, distance = np.zeros(2), np.zeros(2)
    for b, t in zip(*np.nonzero(VALID), strict=True):
        scores = np.exp(np.float64(logits[b, t]))
        entropy[b] -= np.log(scores[LABELS[b, t]] / scores.sum())
        if LABELS[b, t]:
            own = offsets[b, t, LABELS[b, t] if shapes > 1 else 0]
            distance[b] += _smooth(own, regions.offsets[b, t])
    np.testing.assert_allclose(got.classes, entropy * 2 / 5, rtol=1e-5)
    np.testing.assert_allclose(got.boxes, distance * 2 / 5, rtol=1e-5)


@pytest.mark.parametrize("shapes", [4, 1])
def test_mask_loss_is_that_of_the_loop(shapes):
    logits = _normal(2, 3, 2, 2, shapes)
    targets = np.random.default_rng(0).random((2, 3, 2, 2)).astype(np.float32)
    want = np.zeros(2)
    for b, t, i, j in np.ndindex(2, 3, 2, 2):
        if LABELS[b, t]:
            own = logits[b, t, i, j, LABELS[b, t] if shapes > 1 else 0]
            want[b] += _entropy(own, targets[b, t, i, j])
    np.testing.assert_allclose(
        jit(mask_loss)(logits, targets, LABELS), want * 2 / (3 * 4), rtol=1e-5
    )


def test_nothing_to_learn_is_no_loss_and_no_gradient():
    nothing = np.zeros((2, 3), np.int32)

    def loss(logits):
        return mask_loss(logits, np.zeros((2, 3, 2, 2), np.float32), nothing).sum()

    value, gradient = jit(jax.value_and_grad(loss))(_normal(2, 3, 2, 2, 4))
    assert value == 0
    assert not np.any(gradient)


def test_distances_are_smooth():
    values = np.array([[0.0, 1 / 9, -1 / 9, 2.0]], np.float32)
    got = jit(smooth_distance)(values.T, np.zeros((4, 1), np.float32))
    np.testing.assert_allclose(got, [0, 1 / 18, 1 / 18, 2 - 1 / 18], rtol=1e-6)
