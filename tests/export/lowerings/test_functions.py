import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import export, quant

X = jnp.concatenate([normal(4, 60) * 3, jnp.asarray([[0.5, 1.5, -2.5, 0.0] * 15])])
FUNCTIONS = {
    "abs_sqrt": lambda x: jnp.sqrt(jnp.abs(x)),
    "acosh": lambda x: jnp.arccosh(x * x + 1),
    "asinh": jnp.arcsinh,
    "atanh": lambda x: jnp.arctanh(jnp.sin(x) * 0.9),
    "cbrt": jnp.cbrt,
    "ceil": lambda x: jnp.ceil(x) + jnp.floor(x),
    "celu": jax.nn.celu,
    "cos": lambda x: jnp.cos(x) ** 4,
    "cosh": lambda x: jnp.cosh(x / 4),
    "elu": jax.nn.elu,
    "erf": jax.lax.erf,
    "erfc": jax.lax.erfc,
    "exp2": lambda x: jnp.exp2(x / 4),
    "expm1": lambda x: jnp.expm1(x / 4),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "integer_pow": lambda x: (x * x + 1) ** -5,
    "log1p": lambda x: jnp.log1p(jnp.abs(x)),
    "log_sigmoid": jax.nn.log_sigmoid,
    "mish": jax.nn.mish,
    "pow": lambda x: jnp.power(x * x + 1, 0.3),
    "pow_of": lambda x: jnp.power(1.7, x),
    "reciprocal": lambda x: 1 / (x * x + 1),
    "rem": lambda x: jnp.fmod(x, 1.5) + x % -0.75,
    "round": jnp.round,
    "round_away": lambda x: jax.lax.round(x, jax.lax.RoundingMethod.AWAY_FROM_ZERO),
    "rsqrt": lambda x: jax.lax.rsqrt(x * x + 1),
    "selu": jax.nn.selu,
    "sign": lambda x: jnp.sign(x) + x,
    "sinh": lambda x: jnp.sinh(x / 4),
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "sparse_plus": jax.nn.sparse_plus,
    "squareplus": jax.nn.squareplus,
    "tan": lambda x: jnp.tan(x / 8),
    "where": lambda x: jnp.where((x > 1) & ~(x >= 2), jnp.exp(-x), x * jnp.tanh(x)),
}


def _worst(functions, target, kernels):
    graph, weights = quant.trace(lambda _, x: {n: f(x) for n, f in functions.items()}, (), X)
    file = export.to_tflite(graph, weights, target=target)
    found = export.run(file, np.asarray(X), kernels=kernels)
    return {
        name: np.max(np.abs(found[name] - f(X)) / np.maximum(1, np.abs(f(X))))
        for name, f in functions.items()
    }


@pytest.mark.slow
def test_float_files_compute_every_function():
    worst = _worst(FUNCTIONS, "android", "xnnpack")
    assert {name: error for name, error in worst.items() if not error <= 1e-5} == {}


@pytest.mark.slow
def test_tflite_micro_computes_most_of_them():
    without = {"cbrt", "pow"}  # it has no POW
    functions = {name: f for name, f in FUNCTIONS.items() if name not in without}
    worst = _worst(functions, "micro", "micro")
    assert {name: error for name, error in worst.items() if not error <= 1e-5} == {}


def test_what_no_operator_computes_is_refused_by_name():
    graph, weights = quant.trace(lambda _, x: jax.lax.lgamma(x), (), X)
    with pytest.raises(ValueError, match="float32 file cannot hold the function 'lgamma' at"):
        export.to_tflite(graph, weights)
