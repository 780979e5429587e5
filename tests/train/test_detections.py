import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.anchors import Anchors
from attokit.train.detections import FindConfig, find_objects

ANCHORS = Anchors(
    boxes_xyxy=np.array(
        [[0, 0, 8, 8], [1, 0, 9, 8], [16, 16, 24, 24], [28, 28, 36, 36]], np.float32
    ),
    image_size=(32, 32),
)
FIND = jax.jit(
    functools.partial(find_objects, anchors=ANCHORS, config=FindConfig(candidates=8, most=5))
)
_OFFSETS = jnp.zeros((1, 4, 4))


def _logits(*probabilities):
    return jnp.log(jnp.asarray([probabilities], jnp.float32))


def test_the_best_of_each_place_and_class():
    found = FIND(
        _OFFSETS,
        _logits((0.3, 0.6, 0.1), (0.1, 0.7, 0.2), (0.5, 0.1, 0.4), (0.2, 0.796, 0.004)),
    )
    # Anchor 0 overlaps anchor 1 by 7 in 9: per class, the better stays.
    np.testing.assert_array_equal(found.labels, [[1, 1, 2, 2, 1]])
    np.testing.assert_allclose(found.scores, [[0.796, 0.7, 0.4, 0.2, 0.1]], rtol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy[0, 0], [28, 28, 32, 32])  # cut off at the image
    np.testing.assert_allclose(found.boxes_xyxy[0, 1], [1, 0, 9, 8], atol=1e-5)


def test_rows_that_are_not_used_are_zeros():
    logits = _logits((0.99, 0.005, 0.005), (0.995, 0.003, 0.002), (0.1, 0.1, 0.8), (1, 1e-9, 1e-9))
    found = FIND(_OFFSETS, logits)
    np.testing.assert_array_equal(found.labels, [[2, 1, 0, 0, 0]])
    np.testing.assert_array_equal(found.scores[0, 2:], 0)
    np.testing.assert_array_equal(found.boxes_xyxy[0, 2:], 0)


def test_an_image_without_a_candidate_has_no_answer():
    """The reference implementation crashes there."""
    found = FIND(_OFFSETS, jnp.zeros((1, 4, 3)).at[..., 0].set(20.0))
    np.testing.assert_array_equal(found.labels, 0)
    nothing = FIND(_OFFSETS, jnp.full((1, 4, 3), jnp.nan))
    np.testing.assert_array_equal(nothing.labels, 0)
    assert np.isfinite(nothing.boxes_xyxy).all() and np.isfinite(nothing.scores).all()


def test_offsets_move_boxes():
    offsets = _OFFSETS.at[0, 2, 0].set(10.0)  # by its width: variance 0.1
    found = FIND(offsets, _logits(*[(1, 1e-9, 1e-9)] * 2, (0.1, 0.9, 1e-9), (1, 1e-9, 1e-9)))
    np.testing.assert_allclose(found.boxes_xyxy[0, 0], [24, 16, 32, 24], atol=1e-5)


def test_what_is_outside_of_the_image_or_nan_is_no_answer():
    offsets = _OFFSETS.at[0, 2, 0].set(100.0).at[0, 3, 2].set(jnp.nan)  # ten widths to the right
    found = FIND(offsets, _logits((0.1, 0.8, 0.1), (1, 1e-9, 1e-9), *[(0.05, 0.9, 0.05)] * 2))
    np.testing.assert_array_equal(found.labels, [[1, 2, 0, 0, 0]])
    np.testing.assert_allclose(found.scores[0, :2], [0.8, 0.1], rtol=1e-5)
    assert np.isfinite(found.boxes_xyxy).all()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"score_threshold": 1.5}, "score_threshold=1.5: give a share from 0 to 1"),
        ({"iou_threshold": -1}, "iou_threshold=-1"),
        ({"most": 0}, "most=0 of candidates=400"),
        ({"most": 500}, "most=500 of candidates=400"),
    ],
)
def test_bad_settings(fields, text):
    with pytest.raises(ValueError, match=text):
        FindConfig(**fields)
