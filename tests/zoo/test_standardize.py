import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.standardize import standardize


def test_every_channel_has_its_own_numbers():
    images = jnp.asarray(np.random.default_rng(0).random((2, 3, 4, 3)), jnp.float32)
    got = standardize(images, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    want = (np.asarray(images) - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert standardize(images, None, None) is images


def test_refuses_numbers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"3 channels and input_mean=\(0\.5,\)"):
        standardize(jnp.zeros((1, 2, 2, 3)), (0.5,), (0.5,))
    with pytest.raises(ValueError, match="give both or none"):
        zoo.create("rnnpool_vww", input_mean=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match=r"input_std=\(0.0,\): give positive"):
        zoo.create("rnnpool_face_m4", input_std=(0.0,))
