import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = 3 * normal(3, 40)

ONE_OP = {
    "hard_swish": (lambda x: x * nn.relu6(x + 3) / 6, "hard_swish"),
    "hard_swish_clip": (lambda x: x * jnp.clip(x / 6 + 0.5, 0, 1), "hard_swish"),
    "sigmoid_by_exp": (lambda x: 1 / (1 + jnp.exp(-x)), "logistic"),
    "sigmoid_by_tanh": (lambda x: 0.5 * jnp.tanh(x / 2) + 0.5, "logistic"),
    "tanh_by_exp": (lambda x: 1 - 2 / (jnp.exp(2 * x) + 1), "tanh"),
    "relu6_by_where": (lambda x: jnp.where(x < 0, 0.0, jnp.where(x > 6, 6.0, x)), "relu6"),
    "relu_by_abs": (lambda x: (x + jnp.abs(x)) / 2, "relu"),
    "hard_tanh": (jax.nn.hard_tanh, "relu_n1_to_1"),
    "leaky": (lambda x: jnp.where(x > 0, x, 0.1 * x), "leaky_relu"),
    "leaky_by_maximum": (lambda x: jnp.maximum(x, 0.2 * x), "leaky_relu"),
    "abs_by_where": (lambda x: jnp.where(x > 0, x, -x), "abs"),
    "identity": (lambda x: nn.relu(x) - nn.relu(-x), None),
    "mish": (lambda x: x * jnp.tanh(jnp.log1p(jnp.exp(x))), "lookup"),
    "softplus": (jax.nn.softplus, "lookup"),
    "elu": (jax.nn.elu, "lookup"),
    "selu": (jax.nn.selu, "lookup"),
    "gelu": (lambda x: 0.5 * x * (1 + jax.lax.erf(x / jnp.sqrt(2.0))), "lookup"),
    "log_sigmoid": (jax.nn.log_sigmoid, "lookup"),
    "remainder": (lambda x: (x + 1.5) % 3 - 1.5, "lookup"),
    "sin": (jnp.sin, "lookup"),
    "power": (lambda x: jnp.power(jnp.abs(x), 1.7), "lookup"),
}


@pytest.mark.parametrize("name", ONE_OP)
def test_however_a_function_is_spelled_it_is_one_op(name):
    function, want = ONE_OP[name]

    def scaled(_, x):
        return function(x) * normal(1, 40)

    graph, weights = quant.trace(scaled, (), X)
    assert kinds(graph) == [*([want] if want else []), "mul"]
    assert error(graph, weights, scaled, (), X) < 1e-5


def test_functions_that_a_target_has_an_op_for_have_its_name():
    graph, _ = quant.trace(lambda _, x: (jax.nn.gelu(x), jax.nn.gelu(x, approximate=False)), (), X)
    assert [op["name"] for op in graph.ops] == ["gelu_tanh", "gelu"]


def test_silu_is_a_gate():
    graph, _ = quant.trace(lambda _, x: jax.nn.silu(x), (), X)
    assert kinds(graph) == ["logistic", "mul"]


def test_short_arithmetic_stays():
    graph, _ = quant.trace(lambda _, x: jax.nn.hard_sigmoid(x), (), X)
    assert kinds(graph) == ["add+relu6", "mul"]


def test_what_precedes_a_function_folds_into_the_convolution():
    def function(v, x):
        return 1 / (1 + jnp.exp(-(x @ v)))

    v = normal(40, 3)
    graph, weights = quant.trace(function, v, X)
    assert kinds(graph) == ["fully_connected", "logistic"]
    assert error(graph, weights, function, v, X) < 1e-5


def test_a_weight_is_never_absorbed():
    def function(v, x):
        return jax.nn.softplus(x * v)

    graph, weights = quant.trace(function, jnp.float32(0.7), X)
    assert kinds(graph) == ["mul", "lookup"]
    assert error(graph, weights, function, jnp.float32(0.7), X) < 1e-5


def test_functions_that_leave_are_kept_beside_those_made_of_them():
    def function(_, x):
        y = jnp.exp(x)
        return y, jnp.sin(y) * y + 1

    graph, weights = quant.trace(function, (), X / 3)
    assert kinds(graph) == ["lookup", "lookup"]
    assert error(graph, weights, function, (), X / 3) < 1e-5


def test_a_value_that_is_needed_anyway_is_where_a_function_starts():
    def function(v, x):
        gate = jax.nn.sigmoid(x @ v + 1)
        y = nn.relu(x @ v)
        return gate * y + (1 - gate) * x[:, :3], y, jax.nn.sigmoid(y)

    v = normal(40, 3)
    graph, weights = quant.trace(function, v, X)
    assert "lookup" not in kinds(graph)
    assert kinds(graph).count("logistic") == 2
    assert error(graph, weights, function, v, X) < 1e-5
    qparams = quant.calibrate(graph, weights, [X], input_range=None)
    found = quant.fake_quant(graph)(weights, qparams, X)
    assert all(jnp.isfinite(leaf).all() for leaf in found)


def test_a_table_does_not_change_when_what_it_reads_is_folded():
    def function(v, x):
        y = x @ v + jnp.float32(0.5) * normal(1, 3)
        return jax.nn.softplus(y), jnp.sin(y)

    v = normal(40, 3)
    graph, weights = quant.trace(function, v, X)
    assert kinds(graph) == ["fully_connected", "lookup", "lookup"]
    assert error(graph, weights, function, v, X) < 1e-5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.clip(x, 0, 255),
        lambda x: jnp.clip(x, -100, 100),
        lambda x: jnp.where(jnp.abs(x) > 90, 0.0, x),
        lambda x: nn.relu(x) + 1e-6,
    ],
)
def test_functions_that_differ_far_out_or_at_zero_are_not_taken_for_others(function):
    x = jnp.linspace(-400, 400, 24).reshape(2, 12)
    graph, weights = quant.trace(lambda _, x: function(x), (), x)
    assert jnp.abs(graph(weights, x) - function(x)).max() < 1e-7


def test_a_function_of_a_function_is_not_called_like_it():
    graph, _ = quant.trace(lambda _, x: jnp.exp(jnp.exp(x)), (), X)
    assert [op["name"] for op in graph.ops] == ["exp_exp"]


def test_an_offset_is_no_mask():
    def function(_, x):
        return (x * 65535.0 + (-32768.0)) / 32768.0

    graph, weights = quant.trace(function, (), X)
    assert error(graph, weights, function, (), X) < 1e-5


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.broadcast_to(x, (2, 3)) + 1.0,
        lambda x: jnp.broadcast_to(x, (2, 3)) + jnp.broadcast_to(x * x, (2, 3)),
        lambda x: jnp.maximum(jnp.broadcast_to(x, (2, 3)), jnp.broadcast_to(x[:, :1], (2, 3))),
    ],
)
def test_what_both_operands_broadcast_stays_broadcast(function):
    x = normal(1, 3)
    graph, weights = quant.trace(lambda _, x: function(x), (), x)
    assert error(graph, weights, lambda _, x: function(x), (), x) < 1e-6


def test_an_op_and_one_addition_are_no_table():
    def gate(_, x):
        return 1 - jax.nn.sigmoid(x), 2 * (1 / (1 + jnp.exp(-x))), jnp.tanh(x) - 3

    graph, weights = quant.trace(gate, (), X)
    assert kinds(graph) == ["logistic", "sub", "logistic", "mul", "tanh", "sub"]
    assert error(graph, weights, gate, (), X) < 1e-6
    graph, _ = quant.trace(lambda _, x: (1 - jnp.tanh(x)) * 2, (), X)
    assert kinds(graph) == ["lookup"]


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x, y: jnp.where(nn.sigmoid(x) > 0.5, y, 0), ["logistic", "greater", "select"]),
        (
            lambda x, y: jnp.where((jnp.sin(x) > 0.5) & (jnp.cos(x) < 0.5), y, x),
            ["lookup", "greater", "lookup", "less", "logical_and", "quantize", "select"],
        ),
        (lambda x, y: jnp.tanh(x) > 0.5, ["tanh", "greater"]),
    ],
)
def test_a_condition_that_others_read_keeps_what_it_compares(function, want):
    x, y = normal(3, 5), normal(3, 5, seed=1)
    graph, weights = quant.trace(lambda _, x, y: function(x, y), (), x, y)
    assert [k for k in kinds(graph) if k != "quantize"] == [k for k in want if k != "quantize"]
    np.testing.assert_allclose(graph(weights, x, y), function(x, y), rtol=1e-5)


BANDS = {
    "identity": lambda x: jnp.where((x > 0.51) & (x < 0.59), 0.0, x),
    "relu": lambda x: jnp.where((x >= 0.51) & (x <= 0.51001), 1.0, jnp.maximum(x, 0)),
    "leaky_relu": lambda x: jnp.where((x < -0.31) & (2 * x + 1 > 0.36), x, jnp.where(x > 0, x, x / 8)),
    "square": lambda x: jnp.where((x - 0.55) * (x - 0.55) < 1e-5, 0.0, x),
    "logistic": lambda x: jnp.where(jnp.abs(x - 0.55) < 0.01, 3.0, jax.nn.sigmoid(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", BANDS)
def test_what_differs_in_a_narrow_band_is_no_other_function(name):
    points = jnp.linspace(-0.4, 0.6, 100001)[None]  # none of the bands is narrower than a step
    graph, weights = quant.trace(lambda _, x: BANDS[name](x), (), points)
    assert kinds(graph)[-1] in ("lookup", "select")
    np.testing.assert_allclose(graph(weights, points), BANDS[name](points), atol=1e-6)
