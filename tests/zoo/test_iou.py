import jax
import jax.numpy as jnp
import numpy as np
from traced import jit

from attokit.zoo.iou import box_area, pairwise_iou


def _iou(a, b):
    """Returns the overlap of two boxes, by hand."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    real = all(box[2] > box[0] and box[3] > box[1] for box in (a, b))
    if width <= 0 or height <= 0 or not real:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_pairs_are_those_by_hand():
    rng = np.random.default_rng(0)
    boxes, others = rng.random((20, 4)), rng.random((15, 4))  # half of them turned around
    got = pairwise_iou(jnp.asarray(boxes, jnp.float32), jnp.asarray(others, jnp.float32))
    want = [[_iou(a, b) for b in others] for a in boxes]
    assert np.count_nonzero(want) > 10
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_box_is_itself_and_no_size_is_nothing():
    boxes = jnp.asarray([[0.0, 0, 2, 2], [1, 1, 1, 3], [0, 0, 0, 0], [2, 2, 1, 1]])
    got = pairwise_iou(boxes, boxes)
    assert np.array_equal(got, np.diag([1.0, 0, 0, 0]))
    assert np.array_equal(box_area(boxes), [4.0, 0, 0, 0])


def test_padding_overlaps_nothing_whatever_it_holds():
    boxes = jnp.asarray([[0.0, 0, 2, 2], [np.nan] * 4, [0, 0, 2, 2]])
    valid = jnp.asarray([True, False, True])
    others_valid = jnp.asarray([True, False, False])
    got = pairwise_iou(boxes, boxes, valid=valid, others_valid=others_valid)
    assert np.array_equal(got, [[1, 0, 0], [0, 0, 0], [1, 0, 0]])


def test_gradients_are_finite_at_boxes_of_no_size():
    boxes = jnp.asarray([[0.0, 0, 2, 2], [1, 1, 1, 1], [0, 0, 0, 0], [np.nan] * 4])
    valid = jnp.asarray([True, True, True, False])

    def total(x):
        return jnp.sum(pairwise_iou(x, boxes, valid=valid, others_valid=valid))

    assert np.all(np.isfinite(jit(jax.grad(total))(boxes)))
