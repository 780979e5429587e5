import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.zoo.conv_norm import ConvNorm


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 6, 4)), jnp.float32)


@pytest.mark.parametrize(("activation", "low", "high"), [("relu", 0, 99), ("relu6", 0, 6)])
def test_activation_bounds_the_output(images, activation, low, high):
    block = ConvNorm(8, 3, groups=2, activation=activation)
    variables = block.init(jax.random.key(0), images)
    y = block.apply(variables, images * 9)
    assert jnp.all((y >= low) & (y <= high))
    plain = ConvNorm(8, 3, groups=2, activation="none").apply(variables, images * 9)
    np.testing.assert_allclose(y, jnp.clip(plain, low, high), atol=1e-6)


def test_dilation_spreads_the_taps(images):
    block = ConvNorm(8, 3, dilation=2, padding="VALID")
    variables = block.init(jax.random.key(0), images)
    assert block.apply(variables, images).shape == (4, 2, 2, 8)


def test_training_normalizes_by_the_batch(images):
    block = ConvNorm(8, activation="none")
    variables = block.init(jax.random.key(0), images)
    y, update = block.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(jnp.mean(y, (0, 1, 2)), 0, atol=1e-5)
    assert not np.array_equal(update["batch_stats"]["norm"]["mean"], np.zeros(8))
