import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.resolution import match_resolution


def test_outputs_of_the_right_size_stay():
    outputs = jnp.ones((1, 4, 6, 2))
    assert match_resolution(outputs, jnp.zeros((1, 4, 6), jnp.uint8)) is outputs


def test_a_ramp_stays_a_ramp_between_pixel_centres():
    ramp = jnp.arange(4.0).reshape(1, 1, 4, 1) * jnp.ones((1, 2, 1, 1))
    out = match_resolution(ramp, jnp.zeros((1, 4, 8), jnp.uint8))
    assert out.shape == (1, 4, 8, 1)
    np.testing.assert_allclose(out[0, 1, :, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


@pytest.mark.parametrize("size", [(4, 9), (8, 8), (1, 3), (2, 4)])
def test_refuses_sizes_that_do_not_fit(size):
    with pytest.raises(ValueError, match=r"outputs of \(2, 3\) pixels do not fit labels of"):
        match_resolution(jnp.zeros((1, 2, 3, 1)), jnp.zeros((1, *size), jnp.uint8))


def test_refuses_ids():
    with pytest.raises(ValueError, match=r"output='argmax'"):
        jax.eval_shape(match_resolution, *[jnp.zeros((1, 2, 3), jnp.int32)] * 2)
