"""Batch norm against `flax.linen.BatchNorm`: values, statistics, gradients, and what a mesh sees."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from attokit.zoo.batch_norm import BatchNorm, normalize_by_batch


def _case(shape=(4, 3, 5, 6), dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    x = (3 * jax.random.normal(keys[0], shape) + 1).astype(dtype)
    params = {
        "scale": jax.random.normal(keys[1], shape[-1:]),  # negative ones among them
        "bias": jax.random.normal(keys[2], shape[-1:]),
    }
    stats = {"mean": jnp.full(shape[-1:], 0.5), "var": jnp.full(shape[-1:], 2.0)}
    return x, {"params": params, "batch_stats": stats}


def _flax(**settings):
    return nn.BatchNorm(momentum=0.9, epsilon=1e-3, **settings)


def _loss(module, weights):
    """A loss that weighs every result and every statistic differently."""

    def loss(params, x, stats):
        y, changed = module.apply(
            {"params": params, "batch_stats": stats}, x, mutable=["batch_stats"]
        )
        moments = jax.tree.map(lambda s: jnp.vdot(s, jnp.arange(1.0, 1 + s.size)), changed)
        return jnp.vdot(y.astype(jnp.float32), weights) + sum(jax.tree.leaves(moments)), (
            y,
            changed,
        )

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (7, 3)])
def test_training_equals_flax_in_values_statistics_and_gradients(shape):
    x, variables = _case(shape)
    weights = jax.random.normal(jax.random.key(1), shape)
    results = [
        _loss(module, weights)(variables["params"], x, variables["batch_stats"])
        for module in (BatchNorm(False), _flax(use_running_average=False))
    ]
    for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_inference_equals_flax_and_names_are_the_same():
    x, variables = _case()
    ours, theirs = BatchNorm(True), _flax(use_running_average=True)
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-6)
    made = [jax.eval_shape(m.init, jax.random.key(0), x) for m in (ours, theirs)]
    assert made[0] == made[1]


def test_bfloat16_keeps_statistics_and_parameters_in_float32():
    x, variables = _case(dtype=jnp.bfloat16)
    (_, (y, changed)), (of_params, of_x) = _loss(BatchNorm(False), jnp.ones(x.shape))(
        variables["params"], x, variables["batch_stats"]
    )
    assert (y.dtype, of_x.dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves((changed, of_params))} == {jnp.dtype("float32")}
    exact, _ = _loss(BatchNorm(False), jnp.ones(x.shape))(
        variables["params"], x.astype(jnp.float32), variables["batch_stats"]
    )
    np.testing.assert_allclose(y.astype(jnp.float32), exact[1][0], rtol=2**-7, atol=2**-7)


def test_a_constant_channel_is_its_bias_and_has_a_finite_gradient():
    x = jnp.full((8, 4, 4, 2), 1000.1)
    scale, bias = jnp.ones(2), jnp.array([0.25, -1.0])
    (y, (_, var)), pull = jax.vjp(lambda x: normalize_by_batch(x, scale, bias, 1e-3), x)
    assert jnp.all(var >= 0)
    # float32 sums of 1000.1 leave a variance of up to 0.1; the values stay near the bias.
    np.testing.assert_allclose(y, jnp.broadcast_to(bias[None, None, None], y.shape), atol=0.05)
    zeros = (jnp.zeros(2), jnp.zeros(2))
    assert jnp.isfinite(pull((jnp.ones_like(y), zeros))[0]).all()


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_sharded_batch_counts_as_a_whole(kind):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    x, variables = _case()
    loss = _loss(BatchNorm(False), jnp.ones(x.shape))
    whole = loss(variables["params"], x, variables["batch_stats"])
    split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    with jax.set_mesh(mesh):
        parts = loss(variables["params"], split, variables["batch_stats"])
    for one, two in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
