import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.quant.lowering.values import Builder, Known, Symbol
from attokit.quant.program import Program
from attokit.quant.rewrite import rewrite

X = normal(3, 6)
FLOAT = np.dtype("float32")


def _traced(function, variables=()):
    graph, weights = quant.trace(function, variables, X)
    assert error(graph, weights, function, variables, X) < 1e-5
    return graph, weights


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_sum_over_another_count_is_a_multiple_of_the_mean(keepdims):
    graph, _ = _traced(lambda _, x: jnp.sum(x, -1, keepdims=keepdims) / 5)
    assert kinds(graph) == ["mean", "mul"]
    assert graph.ops[0]["keepdims"] is keepdims
    np.testing.assert_allclose(graph.constants[graph.ops[1].inputs[1]], 6 / 5, rtol=1e-6)


def test_a_weight_that_happens_to_be_the_count_stays_a_weight():
    count = jnp.full((1, 1), 6.0)
    graph, weights = _traced(lambda v, x: x.sum(-1, keepdims=True) / v["n"], {"n": count})
    assert kinds(graph) == ["mean", "mul"] and list(weights) == ["n"]


def test_a_division_by_zero_is_the_users():
    graph, _ = quant.trace(lambda _, x: x / np.float32([[1, 0, 2, 1, 1, 1]]), (), X)
    assert graph.constants[graph.ops[0].inputs[1]].tolist() == [[1, np.inf, 0.5, 1, 1, 1]]


def test_constants_are_used_once_per_use():
    build = Builder()
    x = Symbol((2, 2), FLOAT)
    y = build.emit("div", [x, Known(np.float32([2, 4]))], (2, 2))
    program = Program(build.nodes, [y])
    rewrite(program)
    (node,) = program.nodes
    assert node.kind == "mul"
    np.testing.assert_array_equal(node.inputs[1].array, [0.5, 0.25])
