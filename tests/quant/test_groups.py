import flax.linen as nn
import jax
import jax.numpy as jnp
from traced import normal

from attokit import quant
from attokit.quant.groups import has_int16, int16_around, named_ops, ops_around


def _graph():
    def network(v, x):
        y = jnp.tanh(nn.hard_swish(x) @ v)
        return jnp.concatenate([y, jax.nn.sigmoid(x @ v)], -1)

    return quant.trace(network, normal(3, 3), normal(2, 3))[0]


def test_ops_around_make_share_or_read_a_scale():
    graph = _graph()
    around = {n: [op.kind for op in ops_around(graph, n)] for op in graph.ops for n in op.outputs}
    assert around["hard_swish"] == ["hard_swish", "fully_connected"]
    # One scale for all of the concatenation, which a logistic meets behind a change of scale.
    assert around["tanh"] == around["concatenation"] == ["tanh", "quantize", "concatenation"]
    assert around["logistic"] == ["logistic", "quantize"]
    assert [op.kind for op in ops_around(graph, "input")] == ["hard_swish", "fully_connected"]


def test_ops_that_stay_float32_and_changes_of_scale_have_no_name():
    graph = quant.keep_float(_graph(), ["logistic"])
    names = set(named_ops(graph).values())
    assert "logistic" not in names and {"hard_swish", "tanh", "concatenation"} <= names
    assert not any(op.kind in ("quantize", "dequantize") for op in graph.ops if id(op) in names)


def test_int16_around_needs_kernels():
    graph = _graph()
    able = {op.kind: has_int16(op) for op in graph.ops}
    assert able["tanh"] and not able["hard_swish"]
    assert int16_around(graph, "hard_swish") == int16_around(graph, "nothing") == ()
    assert int16_around(graph, "fully_connected") == ("fully_connected", "tanh")
    assert int16_around(graph, "logistic") == ("fully_connected_1", "logistic")
