import flax.linen as nn
import jax.numpy as jnp
import numpy as np
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


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=-1.0),
        lambda x: jnp.concatenate([x, jnp.float32([[[[2.0, -3.0, 0.5]]]] * 2).repeat(4, 2)], 1),
        lambda x: x.at[:, 1].set(-2.0),
        lambda x: jnp.maximum(x, jnp.float32([[[[2.0, 0.5, -1.0]]]])),
        lambda x: nn.softmax(x).at[:, 1].set(-2.0),
        lambda x: jnp.where(np.float32(np.eye(3)[0]) > 0, x, 3.0),
    ],
)
def test_a_constant_that_a_prescribed_range_cannot_hold_gets_a_range_of_its_own(function):
    x = jnp.abs(X) / 4
    graph, weights = quant.trace(lambda _, x: function(x), (), x)
    assert kinds(graph).count("quantize") == 1
    qparams = quant.calibrate(graph, weights, [x])  # inputs in [0, 1]
    found = quant.fake_quant(graph)(weights, qparams, x)
    np.testing.assert_allclose(found, function(x), atol=0.02)
    assert graph.tensors["input"].range_name == "input"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0))),
        lambda x: jnp.maximum(x, -3.0),
        lambda x: jnp.where(X > 0, x, -jnp.inf).max(-1),
        lambda x: jnp.where(X > 0, nn.sigmoid(x), 1.0),  # 255/256, as the kernel's own 1
    ],
)
def test_what_a_prescribed_range_holds_or_nobody_sees_stays_in_it(function):
    x = jnp.abs(X) / 4
    graph, weights = quant.trace(lambda _, x: function(x), (), x)
    assert "quantize" not in kinds(graph)
    found = quant.fake_quant(graph)(weights, quant.calibrate(graph, weights, [x]), x)
    want = function(x)
    np.testing.assert_allclose(found, jnp.where(jnp.isfinite(want), want, 0), atol=0.005)


def test_weights_are_never_tied_to_what_enters():
    token = normal(1, 1, 1, 3)
    graph, _ = quant.trace(lambda v, x: jnp.concatenate([x, v.repeat(4, 2)], 1), token, X[:1])
    assert kinds(graph)[0] == "quantize"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        (lambda x: [nn.sigmoid(x), jnp.tanh(x)], 1),  # in tanh's range
        (lambda x: [nn.softmax(x), nn.log_softmax(x)], 2),
        (lambda x: [x, jnp.tanh(2 * x - 1)], 2),
    ],
)
def test_no_value_leaves_the_range_that_prescribed_ones_are_changed_to(parts, changes, bits):
    x = jnp.linspace(0, 1, 48).reshape(2, 4, 6)

    def function(_, x):
        return jnp.concatenate(parts(x), -1)

    graph, weights = quant.trace(function, (), x)
    assert kinds(graph).count("quantize") == changes
    if bits > 8:
        keep = [op.outputs[0] for op in graph.ops if op.kind == "log_softmax"]
        graph = quant.widen(graph, keep=keep)
    qparams = quant.calibrate(graph, weights, [x])
    found = quant.fake_quant(graph)(weights, qparams, x)
    np.testing.assert_allclose(found, function((), x), atol=0.04)  # log-softmax has steps of 1/16
