import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.zoo import box_coder


def _boxes(seed, n=30):
    rng = np.random.default_rng(seed)
    low = rng.random((n, 2))
    return jnp.asarray(np.concatenate([low, low + 0.05 + rng.random((n, 2))], 1), jnp.float32)


@pytest.mark.parametrize(
    "weights", [box_coder.SSD_WEIGHTS, box_coder.RPN_WEIGHTS, (1.0, 2.0, 3.0, 4.0)]
)
def test_decoding_undoes_encoding(weights):
    boxes, anchors = _boxes(0), _boxes(1)
    offsets = box_coder.encode_boxes(boxes, anchors, weights=weights)
    got = box_coder.decode_boxes(offsets, anchors, weights=weights)
    np.testing.assert_allclose(got, boxes, atol=1e-5)


def test_variances_are_the_inverse_of_weights():
    """SSD: (centre - anchor's) / (size v0) and log(ratio) / v1."""
    assert box_coder.weights_of_variances((0.1, 0.2)) == box_coder.SSD_WEIGHTS
    anchor, box = jnp.asarray([[0.0, 0.0, 2.0, 4.0]]), jnp.asarray([[1.0, 1.0, 5.0, 3.0]])
    want = [[(3 - 1) / (2 * 0.1), 0.0, np.log(4 / 2) / 0.2, np.log(2 / 4) / 0.2]]
    np.testing.assert_allclose(box_coder.encode_boxes(box, anchor), want, rtol=1e-6)


def test_wild_offsets_stay_finite():
    anchors = jnp.asarray([[0.0, 0.0, 1.0, 1.0]])
    boxes = box_coder.decode_boxes(jnp.full((1, 4), 1e4), anchors)
    sizes = box_coder.xyxy_to_cxcywh(boxes)[0, 2:]
    np.testing.assert_allclose(sizes, 1000 / 16, rtol=1e-4)
    free = box_coder.decode_boxes(jnp.full((1, 4), 50.0), anchors, largest_ratio=None)
    assert (free[0, 2] - free[0, 0]) > 2e4  # e^10


def test_boxes_of_no_size_encode_to_finite_numbers_with_finite_gradients():
    boxes = jnp.asarray([[0.5, 0.5, 0.5, 0.5], [0.6, 0.5, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0]])
    for anchors in (_boxes(1, 3), jnp.zeros((3, 4))):
        assert np.all(np.isfinite(box_coder.encode_boxes(boxes, anchors)))
        gradient = jax.grad(lambda x, a=anchors: jnp.sum(box_coder.encode_boxes(x, a)))(boxes)
        assert np.all(np.isfinite(gradient))


def test_forms_of_boxes():
    boxes = _boxes(2)
    there = box_coder.xyxy_to_cxcywh(boxes)
    np.testing.assert_allclose(box_coder.cxcywh_to_xyxy(there), boxes, atol=1e-6)
    np.testing.assert_allclose(there[0, 2:], boxes[0, 2:] - boxes[0, :2])


def test_refuses_bad_numbers():
    with pytest.raises(ValueError, match=r"variances=\(0.1, 0\)"):
        box_coder.weights_of_variances((0.1, 0))
    with pytest.raises(ValueError, match=r"weights=\(1.0,\): give four"):
        box_coder.encode_boxes(_boxes(0), _boxes(1), weights=(1.0,))
