import flax.linen as nn
import jax.numpy as jnp
import pytest
from traced import error, kinds, normal, variables_of

from attokit import quant

X, W = normal(2, 3, 4, 5), normal(4, 1, 1, 1, 5)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda w, x: (x - w[0]) * w[1] + w[2], ["mul", "add"]),
        (lambda w, x: (x + w[0]) - w[1], ["add"]),
        (lambda w, x: (w[0] - x) * w[1] * w[2], ["mul", "add"]),
        (lambda w, x: (x + w[0]) * w[1], ["add", "mul"]),
        (lambda w, x: (lambda y: y * w[1] + y)((x - w[0]) * w[2]), ["sub", "mul", "mul", "add"]),
    ],
)
def test_a_chain_of_constants_is_a_product_and_a_sum(function, want):
    graph, weights = quant.trace(function, W, X)
    assert kinds(graph) == want
    assert error(graph, weights, function, W, X) < 1e-5


def test_a_batch_norm_alone_is_two_ops_whose_weights_can_be_trained():
    model = nn.BatchNorm(use_running_average=True)
    variables = variables_of(model, X)
    graph, weights = quant.trace(model.apply, variables, X)
    assert kinds(graph) == ["mul", "add"]
    assert {array.shape for array in weights.values()} == {(1, 1, 1, 5)}
    assert not graph.constants
    assert error(graph, weights, model.apply, variables, X) < 1e-5


def test_a_chain_ends_where_a_constant_makes_it_larger():
    def function(w, x):
        return (x[:, :1] * w[0] + w[1]) + jnp.ones((1, 3, 1, 1)) * w[2] - w[3]

    graph, weights = quant.trace(function, W, X)
    assert error(graph, weights, function, W, X) < 1e-5
