import flax.linen as nn
from traced import error, kinds, normal

from attokit import quant

X, K = normal(3, 6), normal(6, 6)


def _traced(function, variables=K):
    graph, weights = quant.trace(function, variables, X)
    assert error(graph, weights, function, variables, X) < 1e-5
    return graph, weights


def test_affine_chains_fold_into_one_kernel_and_bias():
    def function(v, x):
        return (2 - (x @ v + 1) * v[0][None]) / 4 * -1

    graph, weights = _traced(function)
    assert kinds(graph) == ["fully_connected"]
    assert set(weights) == {"weight", "bias"}


def test_nothing_folds_into_a_value_that_is_used_twice():
    graph, _ = _traced(lambda v, x: (lambda y: y * 2 + nn.relu(y))(x @ v))
    assert kinds(graph) == ["fully_connected", "mul", "relu", "add"]


def test_nothing_folds_across_an_activation_or_along_another_axis():
    graph, _ = _traced(lambda v, x: nn.relu(x @ v) * 2)
    assert kinds(graph) == ["fully_connected+relu", "mul"]
    graph, _ = _traced(lambda v, x: (x @ v) * v[:3, :1])
    assert kinds(graph) == ["fully_connected", "mul"]


def test_a_kernel_with_two_uses_folds_each_by_itself():
    graph, weights = _traced(lambda v, x: (x @ v) * 2 + (x @ v) * 3)
    assert kinds(graph) == ["fully_connected", "fully_connected", "add"]
    assert len(weights) == 2


def test_rectifiers_fuse_once_and_where_nobody_else_reads():
    graph, _ = _traced(lambda v, x: nn.relu(nn.relu6(x @ v) - 1))
    assert kinds(graph) == ["fully_connected+relu6", "sub+relu"]
    graph, _ = _traced(lambda v, x: (lambda y: y + nn.relu(y))(x @ v))
    assert kinds(graph) == ["fully_connected", "relu", "add"]
