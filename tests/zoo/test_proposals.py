import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, normal, variables_of

from attokit.zoo.anchors import anchor_boxes_xyxy
from attokit.zoo.proposals import ProposalConfig, ProposalHead, clip_boxes, propose

SIZE = (48, 64)
ANCHORS = anchor_boxes_xyxy(
    [(6, 8), (3, 4)], steps=[(8, 8), (16, 16)], sizes=(12, 24), ratios=(0.5, 1.0)
)
CONFIG = ProposalConfig(count=30, per_level=40, iou_threshold=0.5, least_side=2.0)


def _iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, 0))
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    return common / (sum(areas) - common)


def _by_loops(objectness, offsets, config):
    """Returns boxes and scores, best first."""
    found, start = [], 0
    for anchors in ANCHORS:
        own, kept = range(start, start + len(anchors)), []
        start += len(anchors)
        for i in sorted(own, key=lambda i: -objectness[i])[: config.per_level]:
            x0, y0, x1, y1 = anchors[i - own[0]]
            dx, dy, dw, dh = offsets[i]
            width, height = (x1 - x0) * np.exp(dw), (y1 - y0) * np.exp(dh)
            x, y = (x0 + x1) / 2 + dx * (x1 - x0), (y0 + y1) / 2 + dy * (y1 - y0)
            box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
            box = np.clip(box, 0, [SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
            if min(box[2:] - box[:2]) < config.least_side:
                continue
            if all(_iou(box, other) <= config.iou_threshold for other, _ in kept):
                kept.append((box, objectness[i]))
        found += kept[: config.count]
    found.sort(key=lambda pair: -pair[1])
    return found[: config.count]


def _outputs():
    rng = np.random.default_rng(0)
    n = sum(map(len, ANCHORS))
    return (
        rng.normal(size=n).astype(np.float32),
        (rng.normal(size=(n, 4)) * [0.5, 0.5, 0.9, 0.9]).astype(np.float32),
    )


_plain = functools.partial(propose, anchors_xyxy=ANCHORS, image_size=SIZE)
_propose = jit(_plain, static_argnames="config")


@pytest.mark.parametrize("per_level", [40, pytest.param(10, marks=pytest.mark.slow)])
def test_is_the_loop_over_anchors(per_level):
    objectness, offsets = _outputs()
    config = dataclasses.replace(CONFIG, per_level=per_level)
    found = _propose(objectness, offsets, config=config)
    want = _by_loops(objectness.astype(float), offsets.astype(float), config)
    count = len(want)
    assert count == 30 if per_level == 40 else 5 < count < 20
    assert np.array_equal(found.valid, np.arange(len(found.valid)) < count)
    np.testing.assert_allclose(
        found.boxes_xyxy[:count], np.stack([box for box, _ in want]), atol=1e-4
    )
    np.testing.assert_allclose(found.scores[:count], [score for _, score in want])
    assert not np.any(found.boxes_xyxy[count:])


def test_no_gradient_goes_through():
    objectness, offsets = map(jnp.asarray, _outputs())

    def total(objectness, offsets):
        found = _plain(objectness, offsets, config=CONFIG)
        return jnp.sum(found.boxes_xyxy) + jnp.sum(found.scores)

    gradients = jit(jax.grad(total, (0, 1)))(objectness, offsets)
    assert not any(map(np.any, gradients))


def test_fewer_anchors_than_places():
    of_three = functools.partial(
        propose, anchors_xyxy=ANCHORS[1:], image_size=SIZE, config=ProposalConfig()
    )
    n = len(ANCHORS[1])
    found = jax.eval_shape(of_three, jnp.zeros(n), jnp.zeros((n, 4)))
    assert found.boxes_xyxy.shape == (n, 4)


def test_outputs_of_the_head_are_in_the_order_of_anchors():
    """Cells by rows, then columns, then shapes; map after map."""
    head, maps = ProposalHead(2), [normal(2, 3, 2, 4), normal(2, 2, 1, 4)]
    variables = variables_of(head, maps)
    apply = jit(head.apply)
    objectness, offsets = apply(variables, maps)
    assert (objectness.shape, offsets.shape) == ((2, 16), (2, 16, 4))
    _, alone = apply(variables, maps[1:])
    np.testing.assert_allclose(offsets[:, 12:], alone, atol=1e-5)
    cut = apply(variables, [maps[0][:, 1:]])[0].reshape(2, 2, 2, 2)
    whole = objectness[:, :12].reshape(2, 3, 2, 2)
    np.testing.assert_allclose(whole[:, 2], cut[:, 1], atol=1e-4)


def test_refuses_bad_numbers():
    with pytest.raises(ValueError, match="iou_threshold=2"):
        ProposalConfig(iou_threshold=2)
    with pytest.raises(ValueError, match="count=0"):
        ProposalConfig(count=0)
    with pytest.raises(ValueError, match="5 logits and 120 anchors"):
        propose(jnp.zeros(5), jnp.zeros((5, 4)), ANCHORS, image_size=SIZE, config=CONFIG)


def test_boxes_are_clipped_to_the_image():
    boxes = jnp.asarray([[-3.0, 5, 70, 60], [10, -9, 20, -1]])
    assert np.array_equal(clip_boxes(boxes, SIZE), [[0, 5, 64, 48], [10, 0, 20, 0]])
