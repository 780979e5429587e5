import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attokit.train.optimizer import make_optimizer
from attokit.train.path_rates import path_rates, scale_updates, without_frozen_gradients

PARAMS = {"stem": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "head": {"bias": jnp.ones(2)}}


def test_the_last_pattern_that_fits_counts():
    rates = path_rates(PARAMS, [("*/bias", 0.5), ("stem/*", 0.0), ("stem/bias", 2.0)])
    assert rates == {"stem": {"kernel": 0.0, "bias": 2.0}, "head": {"bias": 0.5}}


def test_a_pattern_that_fits_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'sten/kernel'.*near are stem/kernel"):
        path_rates(PARAMS, [("sten/kernel", 0.0)])


def test_updates_are_scaled_and_frozen_parameters_stay_bit_for_bit():
    gradients = jax.tree.map(lambda leaf: 0.3 * leaf, PARAMS)
    plain = make_optimizer("sgd", 0.1, weight_decay=0.5)
    rated = optax.chain(plain, scale_updates([("stem/*", 0.0), ("head/*", 0.5)]))

    def steps(optimizer):
        params, state = PARAMS, optimizer.init(PARAMS)
        for _ in range(2):
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params

    with jax.numpy_dtype_promotion("standard"):
        ours, reference = steps(rated), steps(plain)
    jax.tree.map(np.testing.assert_array_equal, ours["stem"], PARAMS["stem"])
    moved = 1 - reference["head"]["bias"]
    np.testing.assert_allclose(1 - ours["head"]["bias"], moved / 2, rtol=1e-5)


def test_frozen_parameters_get_no_gradient():
    def forward(params, model_state, inputs, *, train, key):
        return inputs @ params["stem"]["kernel"] + params["head"]["bias"][None], model_state

    frozen = without_frozen_gradients(forward, [("stem/*", 0.0)])

    def total(params):
        return frozen(params, {}, jnp.ones((3, 2)), train=True, key=jax.random.key(0))[0].sum()

    slopes = jax.grad(total)(PARAMS)
    assert not slopes["stem"]["kernel"].any()
    np.testing.assert_array_equal(slopes["head"]["bias"], [3, 3])
