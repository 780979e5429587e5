import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(3, 6)


def _traced(function, variables=()):
    graph, weights = quant.trace(function, variables, X)
    assert error(graph, weights, function, variables, X) < 1e-5
    return graph, weights


@pytest.mark.parametrize("keepdims", [True, False])
def test_softmax_is_one_op_in_any_spelling(keepdims):
    def function(_, x):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        return e / (e.sum(-1, keepdims=True) if keepdims else e.sum(-1)[:, None])

    graph, _ = _traced(function)
    assert kinds(graph) == ["softmax"]


def test_products_with_constants_merge():
    rows = np.float32([[1], [2], [4]])
    graph, _ = _traced(lambda _, x: jnp.max(x, -1, keepdims=True) * 3 * rows)
    assert kinds(graph) == ["reduce_max", "mul"]
