import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal, variables_of

from attokit import quant

X = normal(2, 5, 4, 8)
_L2 = ["mean", "sub", "l2_normalization", "mul", "add"]
_GENERIC = ["mean", "sub", "mul", "mean", "lookup", "mul", "mul", "add"]
MODULES = {
    "layer": (nn.LayerNorm(), _L2),
    "layer_slow_variance": (nn.LayerNorm(use_fast_variance=False), _L2),
    "layer_large_epsilon": (nn.LayerNorm(epsilon=1e-2), _GENERIC),
    "layer_plain": (nn.LayerNorm(use_bias=False, use_scale=False), [*_L2[:-2], "mul"]),
    "layer_all_axes": (nn.LayerNorm(reduction_axes=(-3, -2, -1)), _GENERIC),
    "instance": (nn.InstanceNorm(), _GENERIC),
    "rms": (nn.RMSNorm(), ["l2_normalization", "mul"]),
}


def test_a_group_norm_is_the_same_function_without_cancellation():
    model = nn.GroupNorm(num_groups=4)
    variables = variables_of(model, X)
    graph, weights = quant.trace(model.apply, variables, X)
    assert all(len(tensor.shape) <= 4 for tensor in graph.tensors.values())
    assert error(graph, weights, model.apply, variables, X) < 1e-5
    far, weights = 30 + X, dict(weights)
    wanted = model.apply(variables, X.astype(jnp.float32))
    np.testing.assert_allclose(graph(weights, far), wanted, atol=2e-3)


@pytest.mark.parametrize("name", MODULES)
def test_a_norm_is_the_same_function_in_a_better_order(name):
    model, want = MODULES[name]
    variables = variables_of(model, X)
    graph, weights = quant.trace(model.apply, variables, X)
    assert kinds(graph) == want
    assert error(graph, weights, model.apply, variables, X) < 1e-5


def test_a_mean_of_squares_minus_a_squared_mean_does_not_cancel():
    def function(_, x):
        return jnp.mean(x * x, -1) - jnp.mean(x, -1) ** 2

    x = 100 + X
    graph, weights = quant.trace(function, (), x)
    assert kinds(graph) == ["mean", "sub", "mul", "mean"]
    np.testing.assert_allclose(graph(weights, x), np.var(np.asarray(x, np.float64), -1), rtol=1e-4)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True), 1),
        (lambda x: x / (jnp.sqrt(jnp.sum(x**2, -1, keepdims=True)) + 1e-7), 1),
        (lambda x: x * jax.lax.rsqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-6), 1),
        (lambda x: x / jnp.maximum(jnp.linalg.norm(x, axis=-1), 1e-4)[..., None], 1),
        (lambda x: x / (1 + jnp.linalg.norm(x, axis=-1, keepdims=True)), 0),
        (lambda x: x / jnp.mean(x**2, -1, keepdims=True), 0),
        (lambda x: (x + 1) * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True)), 0),
        (lambda x: x * jax.lax.rsqrt(jnp.mean(x**2, 1, keepdims=True)), 0),
    ],
)
def test_division_by_the_norm_of_a_row_is_one_op(function, want):
    def net(_, x):
        return function(x)

    try:
        graph, weights = quant.trace(net, (), X)
    except quant.UnsupportedOpError as err:  # sums that are no means
        assert "'sum'" in str(err) and not want
        return
    assert kinds(graph).count("l2_normalization") == want
    assert error(graph, weights, net, (), X) < 1e-5


def test_weight_standardization_is_done_while_tracing():
    def function(kernel, x):
        centred = kernel - kernel.mean((0, 1, 2), keepdims=True)
        kernel = centred / jnp.sqrt(jnp.var(kernel, (0, 1, 2), keepdims=True) + 1e-5)
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    kernel = normal(3, 3, 8, 4)
    graph, weights = quant.trace(function, kernel, X)
    assert kinds(graph) == ["conv_2d"]
    assert error(graph, weights, function, kernel, X) < 1e-5


@pytest.mark.parametrize(
    ("spread", "bound"),
    [
        pytest.param(0.0, 0.03, marks=pytest.mark.slow),
        (0.5, 0.06),
        pytest.param(1.0, 0.35, marks=pytest.mark.slow),
    ],
)
def test_a_quantized_layer_norm_is_near_the_float_one(spread, bound):
    """The rows' magnitudes differ by exp(spread * normal); outputs have variance 1."""
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 16, 64)) * np.exp(spread * random.normal(size=(64, 16, 1)))
    x = jnp.asarray(x + 0.5 * random.normal(size=64), jnp.float32)
    model = nn.LayerNorm(use_bias=False, use_scale=False)
    graph, weights = quant.trace(model.apply, {}, x)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    got, want = quant.fake_quant(graph)(weights, qparams, x), model.apply({}, x)
    assert float(jnp.sqrt(jnp.mean((got - want) ** 2))) < bound
