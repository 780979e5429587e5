import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, normal

from attokit import quant
from attokit.quant.ops.kind import Operand
from attokit.zoo.convolution import conv

X = normal(2, 5, 5, 3)
V = {"kernel": normal(3, 3, 3, 4), "bias": normal(4)}


def network(v, x):
    y = conv(x, v["kernel"], padding="SAME") + v["bias"].reshape(1, 1, 1, -1)
    return {"map": nn.relu(y), "mean": jnp.mean(2 * x, (1, 2))}


@pytest.fixture(scope="module")
def traced():
    return quant.trace(network, V, X)


def test_a_graph_jits_and_differentiates_like_the_function(traced):
    graph, weights = traced

    def loss(function):
        return jit(jax.value_and_grad(lambda v, x: jnp.sum(function(v, x)["map"] ** 2), (0, 1)))

    value, (of_weights, of_x) = loss(graph.__call__)(weights, X)
    want, (of_v, want_x) = loss(network)(V, X)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(of_weights["kernel"], of_v["kernel"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_weights["bias"], of_v["bias"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_x, want_x, rtol=1e-4, atol=1e-4)


def test_a_graph_vmaps_over_weights(traced):
    graph, weights = traced
    stacked = jax.tree.map(lambda w: jnp.stack([w, 2 * w]), weights)
    got = jit(jax.vmap(graph.__call__, (0, None)))(stacked, X)["map"]
    np.testing.assert_allclose(got[1], 2 * got[0], rtol=1e-5)


def test_intermediates_hold_every_activation(traced):
    graph, weights = traced
    values = jax.eval_shape(graph.intermediates, weights, X)
    assert {name: value.shape for name, value in values.items()} == {
        name: tensor.shape for name, tensor in graph.tensors.items()
    }


def test_all_problems_are_listed_at_once(traced):
    graph, weights = traced
    wrong = {"kernel": weights["kernel"][:2], "stem": weights["bias"]}
    with pytest.raises(ValueError, match="do not fit the graph") as caught:
        graph(wrong, X[:, :4], X)
    for part in (
        "weight 'bias' is missing",
        "weight 'stem' is not of this graph",
        "weight 'kernel' has shape (2, 3, 3, 4), the graph wants (3, 3, 3, 4)",
        "2 inputs given, the graph takes 1",
        "input 'input' has shape (2, 4, 5, 3)",
    ):
        assert part in str(caught.value)


def test_operands_have_parts(traced):
    graph, _ = traced
    convolution, product, _ = graph.ops
    assert graph.operands(convolution) == (Operand.ACTIVATION, Operand.KERNEL, Operand.BIAS)
    assert graph.operands(product) == (Operand.CONSTANT, Operand.ACTIVATION)
    assert graph.operand_shape(convolution.inputs[1]) == (3, 3, 3, 4)
    assert graph.operand_shape(product.inputs[0]) == ()
    assert graph.operand_shape("input") == X.shape


def test_macs_count_convolutions(traced):
    assert traced[0].macs() == 2 * 5 * 5 * 9 * 3 * 4


def test_a_graph_is_a_static_argument_and_its_ops_may_be_mapped(traced):
    graph, weights = traced
    assert len({graph, graph}) == 1
    plain = graph.map_ops(lambda op: dataclasses.replace(op, activation="none"))
    want = jnp.maximum(plain(weights, X)["map"], 0)
    np.testing.assert_array_equal(graph(weights, X)["map"], want)
    with pytest.raises(TypeError):
        graph.tensors["input"] = None
