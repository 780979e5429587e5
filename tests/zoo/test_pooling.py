import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.zoo.pooling import max_pool


def _images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("shape", "window"), [((2, 4, 6, 3), 2), ((1, 5, 7, 2), 2), ((1, 7, 8, 2), 3)]
)
def test_values_and_gradients_are_those_of_the_pooling_window(shape, window):
    x = _images(*shape)

    def windows(x):
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, window, window, 1), "SAME"
        )

    want, backward = jax.vjp(windows, x)
    found, ours = jax.vjp(lambda x: max_pool(x, window), x)
    np.testing.assert_array_equal(found, want)
    cotangent = _images(*want.shape)
    np.testing.assert_allclose(ours(cotangent)[0], backward(cotangent)[0], atol=1e-6)


def test_equal_cells_share_the_gradient():
    gradient = jax.grad(lambda x: max_pool(x, 2).sum())(jnp.ones((1, 2, 2, 1), jnp.float32))
    np.testing.assert_array_equal(gradient, np.full((1, 2, 2, 1), 0.25))
