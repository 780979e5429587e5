import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from int16_oracles import sigmoids

from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Scales

EVERY = np.arange(-(2**15), 2**15)


@functools.partial(jax.jit, static_argnums=0)
def _computed(kind, scale):
    op = Op(kind=kind, inputs=("x",), outputs=("y",))
    scales = Scales(inputs=(scale,), outputs=(jnp.float32(1 / 32768),), bits=(16,))
    run = table.OPS[kind].wide.integer
    (result,) = run(op, "reference", (jnp.asarray(EVERY, jnp.float32),), (), scales)
    return result.integers


def _integers(kind, scale):
    return np.asarray(_computed(kind, jnp.float32(scale)))


@pytest.mark.parametrize("kind", ["logistic", "tanh"])
def test_every_int16_equals_the_kernels_formula(kind):
    rng = np.random.default_rng(0)
    for scale in np.exp(rng.uniform(np.log(1e-6), np.log(0.5), 12)).astype(np.float32):
        np.testing.assert_array_equal(_integers(kind, scale), sigmoids(kind, EVERY, scale))


@pytest.mark.parametrize(("kind", "power"), [("logistic", -12), ("tanh", -12), ("tanh", -11)])
def test_scales_near_some_powers_of_two_count_as_these(kind, power):
    scale = np.float32(2.0**power)
    for near in (scale, scale * np.float32(1.0005), scale * np.float32(0.9995)):
        np.testing.assert_array_equal(_integers(kind, near), sigmoids(kind, EVERY, scale))


@pytest.mark.parametrize(("kind", "function"), [("logistic", jax.nn.sigmoid), ("tanh", jnp.tanh)])
def test_results_are_near_the_function(kind, function):
    want = function(jnp.asarray(EVERY * 2e-4, jnp.float32))
    np.testing.assert_allclose(_integers(kind, 2e-4) / 32768, want, atol=1.6e-4)
