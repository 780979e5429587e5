import jax.numpy as jnp
import pytest
from traced import error, kinds, normal

from attokit import quant

X, K = normal(3, 6), normal(6, 6)


def _traced(function, variables=K):
    graph, weights = quant.trace(function, variables, X)
    assert error(graph, weights, function, variables, X) < 1e-5
    return graph, weights


def test_identities_go_and_signs_stay():
    graph, _ = _traced(lambda v, x: (x * 1 + 0 - 0) @ v)
    assert kinds(graph) == ["fully_connected"]
    graph, _ = _traced(lambda _, x: 0 - x, ())
    assert kinds(graph) == ["sub"]


def test_a_mean_that_is_reshaped_keeps_its_axes():
    graph, _ = _traced(lambda _, x: jnp.mean(x, -1).reshape(3, 1), ())
    assert kinds(graph) == ["mean"]
    assert graph.ops[0]["keepdims"]


@pytest.mark.parametrize(
    ("permutation", "rank"), [((0, 1, 2, 4, 3), 4), ((0, 3, 4, 1, 2), 3), ((0, 4, 3, 2, 1), 5)]
)
def test_axes_that_stay_neighbours_are_transposed_as_one(permutation, rank):
    x = normal(2, 2, 3, 2, 3)
    graph, weights = quant.trace(lambda _, x: x.transpose(permutation), (), x)
    (op,) = (op for op in graph.ops if op.kind == "transpose")
    assert len(op["permutation"]) == rank
    assert (
        error(graph, weights, lambda _, x: x.transpose(permutation), (), normal(4, 2, 3, 2, 3)) == 0
    )


def test_reshapes_merge():
    graph, _ = _traced(lambda _, x: x.reshape(3, 2, 3).reshape(3, 3, 2).reshape(3, 6) + 1, ())
    assert kinds(graph) == ["add"]


def test_what_is_computed_twice_is_computed_once():
    graph, _ = _traced(lambda _, x: x.mean(-1, keepdims=True) + (x - x.mean(-1, keepdims=True)), ())
    assert kinds(graph) == ["mean", "sub", "add"]
