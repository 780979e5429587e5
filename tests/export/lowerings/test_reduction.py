import functools

import flax.linen as nn
import jax.numpy as jnp
import pytest
from single_op import Case, check_int16, largest_difference, pairs

_average = functools.partial(nn.avg_pool, count_include_pad=False)


def _pool(pool, window, strides, padding):
    return lambda _, x: pool(x, window, strides=strides, padding=padding)


CASES = {
    "average_pool": Case("average_pool_2d", _pool(_average, (2, 2), (2, 2), "VALID")),
    "average_pool_same": Case("average_pool_2d", _pool(_average, (3, 2), (2, 1), "SAME")),
    "max_pool": Case("max_pool_2d", _pool(nn.max_pool, (2, 3), (2, 2), "VALID")),
    "max_pool_same": Case("max_pool_2d", _pool(nn.max_pool, (3, 3), (2, 2), "SAME")),
    "arg_max": Case("arg_max", lambda _, x: jnp.argmax(x, -1)),
    "arg_min": Case("arg_min", lambda _, x: jnp.argmin(x, 1)),
    "max_pool_lowest": Case("max_pool_2d", _pool(nn.max_pool, (3, 3), (2, 2), ((1, 1), (2, 0)))),
    "max_pool_1d": Case("max_pool_2d", _pool(nn.max_pool, (3,), (2,), "SAME"), (), ((2, 7, 3),)),
    "reduce_all": Case("reduce_all", lambda _, x: jnp.all(x > -1, (1, 2))),
    "reduce_any": Case("reduce_all", lambda _, x: jnp.any(x > 1, -1, keepdims=True)),
    "reduce_max": Case("reduce_max", lambda _, x: jnp.max(x, (1, 2))),
    "reduce_max_batch": Case("reduce_max", lambda _, x: jnp.max(x.reshape(4, -1), 0)),
    "reduce_min": Case("reduce_min", lambda _, x: jnp.min(x, -1, keepdims=True)),
    "sum": Case("mean", lambda _, x: jnp.sum(x, 2)),
    "mean": Case("mean", lambda _, x: jnp.mean(x, (1, 2))),
    "mean_keepdims": Case("mean", lambda _, x: jnp.mean(x, (1, 2), keepdims=True)),
    "mean_channels": Case("mean", lambda _, x: jnp.mean(x, -1)),
    "mean_all": Case("mean", lambda _, x: jnp.mean(x, (1, 2, 3)), (), ((3, 9, 7, 5),)),
    "mean_wide": Case("mean", lambda _, x: jnp.mean(x, (1, 2)), (), ((1, 29, 31, 2),)),
}


@pytest.mark.parametrize(("name", "kernels"), pairs(CASES))
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=4) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=200, seed=1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_int16_equals_the_runtime_in_many_draws_or_is_refused(name, kernels):
    check_int16(CASES[name], kernels, draws=60)
