import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import quant
from attokit.quant.lowering import known

A, B = jnp.float32([[1, 2, 3], [4, 5, 6]]), jnp.float32([[2, -1, 0.5], [1, 3, 8]])
WHOLE = jnp.int32([7, 8, 9])


def _evaluated(function, *arrays):
    (eqn,) = jax.make_jaxpr(function)(*arrays).jaxpr.eqns
    return known.evaluate(eqn, [np.asarray(array) for array in arrays]), eqn.primitive.name


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (jax.lax.add, (A, B)),
        (jax.lax.sub, (A, B)),
        (jax.lax.mul, (A, B)),
        (jax.lax.div, (A, B)),
        (jax.lax.div, (WHOLE, WHOLE - 4)),
        (jax.lax.div, (A.astype(jnp.bfloat16), B.astype(jnp.bfloat16))),
        (jax.lax.max, (A, B)),
        (jax.lax.min, (A, B)),
        (jax.lax.neg, (A,)),
        (jax.lax.exp, (A,)),
        (jax.lax.sqrt, (A,)),
        (jax.lax.rsqrt, (A,)),
        (jax.lax.square, (A,)),
        (lambda x: jax.lax.integer_pow(x, 3), (A,)),
        (lambda x: jax.lax.transpose(x, (1, 0)), (A,)),
        (lambda x: jax.lax.reshape(x, (3, 2)), (A,)),
        (lambda x: jax.lax.reshape(x, (6,), dimensions=(1, 0)), (A,)),
        (lambda x: jax.lax.squeeze(x, (0,)), (A[:1],)),
        (lambda x: jax.lax.broadcast_in_dim(x, (4, 2, 3), (1, 2)), (A,)),
        (lambda x: jax.lax.convert_element_type(x, jnp.int32), (A,)),
        (jax.lax.tanh, (A,)),  # through JAX
        (lambda x: jax.lax.top_k(x, 2), (A,)),  # through JAX, two results
    ],
)
def test_known_values_are_computed_as_jax_does(function, arrays):
    results, _ = _evaluated(function, *arrays)
    wants = jax.tree.leaves(function(*arrays))
    for got, want in zip(results, wants, strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(got.astype(np.float64), np.asarray(want, np.float64), rtol=1e-6)


def test_broadcasting_takes_no_memory():
    (result,), _ = _evaluated(lambda x: jax.lax.broadcast_in_dim(x, (1000, 3), (1,)), A[0])
    assert result.strides[0] == 0


def test_integers_divide_toward_zero_as_in_jax():
    def function(_, x):
        return x * (jnp.arange(-4, 4) // 3).astype(jnp.float32)[None]

    x = normal(2, 8)
    graph, weights = quant.trace(function, (), x)
    np.testing.assert_allclose(graph(weights, x), function((), x), atol=1e-6)
