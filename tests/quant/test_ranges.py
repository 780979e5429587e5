import flax.linen as nn
import jax.numpy as jnp
import pytest
from traced import kinds, normal

from attokit import quant

X, K = normal(2, 4, 4, 3), normal(3, 3)


def _range(graph, op_index):
    return graph.tensors[graph.ops[op_index].outputs[0]].range_name


def test_ops_that_move_values_and_pools_share_their_inputs_scale():
    def function(v, x):
        y = nn.max_pool(jnp.pad(x @ v, ((0, 0), (1, 1), (1, 1), (0, 0))), (2, 2), (2, 2))
        y = nn.avg_pool(y, (3, 3), count_include_pad=False)
        return y.transpose(0, 3, 1, 2).reshape(2, 3)

    graph, _ = quant.trace(function, K, X)
    assert len(graph.ops) == 5
    assert {graph.tensors[op.outputs[0]].range_name for op in graph.ops} == {"fully_connected"}
    assert graph.tensors["input"].range_name == "input"


def test_concatenated_values_share_one_scale():
    def function(v, x):
        return jnp.concatenate([x @ v, nn.relu(x @ v)], -1)

    graph, weights = quant.trace(function, K, X)
    names = {graph.tensors[name].range_name for op in graph.ops for name in op.outputs}
    assert len(names) == 1
    qparams = quant.calibrate(graph, weights, [X], input_range=None)
    assert set(qparams) == {"input", "weight", *names}


def test_softmax_has_the_prescribed_range():
    graph, weights = quant.trace(lambda v, x: nn.softmax(x @ v).reshape(2, -1), K, X)
    assert dict(graph.fixed_ranges) == {"softmax": (1 / 256, -128)}
    assert _range(graph, -1) == "softmax"
    assert "softmax" not in quant.calibrate(graph, weights, [X], input_range=None)


@pytest.mark.parametrize("first", [True, False])
def test_a_prescribed_range_is_requantized_where_it_meets_a_free_one(first):
    def function(v, x):
        parts = [nn.softmax(x), x @ v]
        return jnp.concatenate(parts if first else parts[::-1], -1)

    graph, _ = quant.trace(function, K, X)
    assert sorted(kinds(graph)) == ["concatenation", "fully_connected", "quantize", "softmax"]
    quantize = next(op for op in graph.ops if op.kind == "quantize")
    assert quantize.inputs == ("softmax",)
    assert _range(graph, -1) == "fully_connected"


def test_what_enters_keeps_its_scale():
    graph, _ = quant.trace(lambda v, x: jnp.concatenate([x, 9 * (x @ v)], -1), K, X)
    quantize = next(op for op in graph.ops if op.kind == "quantize")
    assert quantize.inputs == ("input",)
    assert graph.tensors["input"].range_name == "input"


def test_prescribed_ranges_alike_need_no_requantization():
    def function(v, x):
        return jnp.concatenate([nn.softmax(x), nn.softmax(x @ v)], -1)

    graph, _ = quant.trace(function, K, X)
    assert "quantize" not in kinds(graph)
    assert len(graph.fixed_ranges) == 1


def test_two_inputs_may_share_one_scale():
    graph, _ = quant.trace(lambda _, x, y: jnp.concatenate([x, y], -1), (), X, X)
    assert kinds(graph) == ["concatenation"]
    assert {t.range_name for t in graph.tensors.values()} == {"input_0"}
