import jax
import jax.numpy as jnp
import numpy as np

from attokit.zoo.l2_norm import L2Norm, l2_normalize


def test_rows_have_the_weights_lengths():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    layer = L2Norm(10.0)
    variables = layer.init(jax.random.key(0), jnp.asarray(x))
    assert np.all(variables["params"]["weight"] == 10)
    got = layer.apply(variables, jnp.asarray(x))
    want = 10 * x / (np.sqrt((x.astype(np.float64) ** 2).sum(-1, keepdims=True)) + 1e-10)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=-1), 10, rtol=1e-5)


def test_small_rows_feel_the_epsilon():
    x = jnp.full((1, 4), 1e-10)
    np.testing.assert_allclose(
        l2_normalize(x), 1e-10 / (2e-10 + 1e-10) * np.ones((1, 4)), rtol=1e-4
    )


def test_zeros_stay_zeros_with_finite_gradients():
    x = jnp.zeros((2, 3))
    assert np.array_equal(l2_normalize(x), x)
    assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(l2_normalize(x)))(x)))
