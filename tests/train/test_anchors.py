import jax
import numpy as np
import pytest

from attokit import zoo
from attokit.train.anchors import Anchors, network_anchors


def test_priors_become_pixels():
    priors = np.array([[0.5, 0.25, 0.2, 0.5]], np.float32)
    anchors = Anchors.of_priors(priors, (40, 80))
    np.testing.assert_allclose(anchors.boxes_xyxy, [[32, 0, 48, 20]], rtol=1e-6)


def test_offsets_and_boxes_are_inverse_for_any_leading_axes():
    rng = np.random.default_rng(0)
    anchors = Anchors.of_priors(rng.uniform(0.2, 0.5, (7, 4)).astype(np.float32), (40, 80))
    low = rng.uniform(0, 20, (3, 7, 2))
    boxes = np.concatenate([low, low + rng.uniform(3, 20, (3, 7, 2))], -1).astype(np.float32)
    # Of the centre, in the anchor's size, by variance 0.1.
    boxes[0] = anchors.boxes_xyxy + np.float32([1, 0, 1, 0])
    width = anchors.boxes_xyxy[:, 2] - anchors.boxes_xyxy[:, 0]
    offsets, back = jax.jit(lambda x: (anchors.encode(x), anchors.decode(anchors.encode(x))))(boxes)
    np.testing.assert_allclose(back, boxes, atol=1e-4)
    np.testing.assert_allclose(offsets[0, :, 0], 10 / width, rtol=1e-3)
    np.testing.assert_allclose(jax.jit(anchors.encode)(boxes[1]), offsets[1], rtol=1e-4, atol=1e-4)


def test_anchors_of_networks():
    detector = zoo.create("rnnpool_face_m4")
    assert network_anchors(detector, (64, 96)).boxes_xyxy.shape == (240, 4)
    with pytest.raises(ValueError, match="this detector takes multiples of 8"):
        network_anchors(detector, (60, 96))
    assert network_anchors(zoo.create("attonet_d"), (224, 224)) is None
    assert network_anchors(None, (8, 8)) is None
