import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from traced import error, kinds, normal

from attokit import quant

X, SLOPES = normal(2, 3, 4, 5), jnp.abs(normal(1, 1, 1, 5)) / 4


@pytest.mark.parametrize(
    "function",
    [
        lambda a, x: jnp.where(x >= 0, x, a * x),
        lambda a, x: jnp.where(x > 0, x, x * a),
        lambda a, x: jnp.where(x < 0, a * x, x),
        lambda a, x: jax.nn.leaky_relu(x, a),
        lambda a, x: jnp.maximum(x, 0) + a * jnp.minimum(x, 0),
        lambda a, x: a * jnp.minimum(0, x) + nn.relu(x),
        lambda a, x: nn.relu(x) - a * nn.relu(-x),
        lambda a, x: jnp.where(x >= 0, x, a[0, 0, 0, 0] * x),
    ],
)
def test_every_spelling_of_prelu_is_one_op(function):
    graph, weights = quant.trace(function, SLOPES, X)
    assert kinds(graph) == ["prelu"]
    assert list(weights) == ["weight"]
    assert error(graph, weights, function, SLOPES, X) < 1e-5


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda a, x: jnp.where(x >= 0, x, 0.1 * x), ["leaky_relu"]),
        (lambda a, x: jnp.where(x >= 1, x, a * x), ["greater_equal", "mul", "select"]),
        (lambda a, x: jnp.where(x >= 0, a * x, x), ["greater_equal", "mul", "select"]),
        (lambda a, x: nn.relu(x) + a * jnp.minimum(x, 1), ["relu", "minimum", "mul", "add"]),
    ],
)
def test_what_only_looks_like_one_is_left(function, want):
    graph, weights = quant.trace(function, SLOPES, X)
    assert [kind for kind in kinds(graph) if kind != "quantize"] == want
    assert error(graph, weights, function, SLOPES, X) < 1e-5


def test_flax_s_module_is_one_op():
    model = nn.PReLU()
    variables = model.init(jax.random.key(0), X)
    graph, weights = quant.trace(model.apply, variables, X)
    assert kinds(graph) == ["prelu"]
    assert list(weights) == ["negative_slope"]


@pytest.mark.parametrize(
    "function",
    [
        lambda a, x: jnp.where(x >= 0, x, a * x),
        lambda a, x: nn.relu(x) + a * jnp.minimum(x, 0),
    ],
)
def test_a_slope_that_is_larger_than_the_values_is_none(function):
    x, slopes = normal(2, 1, 4), normal(2, 3, 4)
    graph, weights = quant.trace(function, slopes, x)
    assert "prelu" not in kinds(graph)
    assert error(graph, weights, function, slopes, x) < 1e-6
