import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.quant import rewrite
from attokit.quant.lowering.values import Builder, Known, Symbol

X, K = normal(3, 6), normal(6, 6)
FLOAT = np.dtype("float32")


def _traced(function, variables=K):
    graph, weights = quant.trace(function, variables, X)
    assert error(graph, weights, function, variables, X) < 1e-5
    return graph, weights


def test_dead_nodes_are_dropped():
    build = Builder()
    x = Symbol((2,), FLOAT)
    kept, _ = build.emit("relu", [x], (2,)), build.emit("relu6", [x], (2,))
    program = rewrite.Program(build.nodes, [kept])
    assert program.uses() == {x: 2, kept: 1}
    rewrite.rewrite(program)
    assert [node.kind for node in program.nodes] == ["relu"]


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


def test_identities_go_and_signs_stay():
    graph, _ = _traced(lambda v, x: (x * 1 + 0 - 0) @ v)
    assert kinds(graph) == ["fully_connected"]
    graph, _ = _traced(lambda _, x: 0 - x, ())
    assert kinds(graph) == ["sub"]


@pytest.mark.parametrize("keepdims", [True, False])
def test_softmax_is_one_op_in_any_spelling(keepdims):
    def function(_, x):
        e = jnp.exp(x - x.max(-1, keepdims=True))
        return e / (e.sum(-1, keepdims=True) if keepdims else e.sum(-1)[:, None])

    graph, _ = _traced(function, ())
    assert kinds(graph) == ["softmax"]


def test_a_mean_that_is_reshaped_keeps_its_axes():
    graph, _ = _traced(lambda _, x: jnp.mean(x, -1).reshape(3, 1), ())
    assert kinds(graph) == ["mean"]
    assert graph.ops[0]["keepdims"]


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_sum_over_another_count_is_a_multiple_of_the_mean(keepdims):
    graph, _ = _traced(lambda _, x: jnp.sum(x, -1, keepdims=keepdims) / 5, ())
    assert kinds(graph) == ["mean", "mul"]
    assert graph.ops[0]["keepdims"] is keepdims
    np.testing.assert_allclose(graph.constants[graph.ops[1].inputs[1]], 6 / 5, rtol=1e-6)


def test_products_with_constants_merge():
    rows = np.float32([[1], [2], [4]])
    graph, _ = _traced(lambda _, x: jnp.max(x, -1, keepdims=True) * 3 * rows, ())
    assert kinds(graph) == ["reduce_max", "mul"]


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


def test_an_index_as_a_number_is_read_from_a_table():
    graph, _ = _traced(lambda _, x: jnp.argmax(x, -1).astype(jnp.float32), ())
    assert kinds(graph) == ["arg_max", "gather"]


def test_reshapes_merge():
    graph, _ = _traced(lambda _, x: x.reshape(3, 2, 3).reshape(3, 3, 2).reshape(3, 6) + 1, ())
    assert kinds(graph) == ["add"]


def test_constants_are_used_once_per_use():
    build = Builder()
    x = Symbol((2, 2), FLOAT)
    y = build.emit("div", [x, Known(np.float32([2, 4]))], (2, 2))
    program = rewrite.Program(build.nodes, [y])
    rewrite.rewrite(program)
    (node,) = program.nodes
    assert node.kind == "mul"
    np.testing.assert_array_equal(node.inputs[1].array, [0.5, 0.25])


def test_what_is_computed_twice_is_computed_once():
    graph, _ = _traced(lambda _, x: x.mean(-1, keepdims=True) + (x - x.mean(-1, keepdims=True)), ())
    assert kinds(graph) == ["mean", "sub", "add"]
