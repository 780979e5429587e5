import jax
import jax.numpy as jnp
import numpy as np

from attokit.zoo.initialization import he_fan_out, lecun_fan_in, of_deviation, uniform


def test_variances():
    kernel = he_fan_out(groups=2)(jax.random.key(0), (3, 3, 32, 64))
    # 18432 draws: the sample variance is within 2 % at three sigmas.
    np.testing.assert_allclose(jnp.var(kernel), 2 / (3 * 3 * 64 / 2), rtol=0.03)
    head = lecun_fan_in(jax.random.key(1), (200, 100))
    np.testing.assert_allclose(jnp.var(head), 1 / 200, rtol=0.03)
    predictor = of_deviation(0.01)(jax.random.key(2), (200, 100))
    np.testing.assert_allclose(jnp.std(predictor), 0.01, rtol=0.03)


def test_keys_decide_the_numbers():
    first, again, other = (uniform(jax.random.key(seed), (9,), 1.0) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert jnp.all(jnp.abs(first) <= 1)
