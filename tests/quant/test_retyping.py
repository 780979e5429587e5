import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant
from attokit.quant.retyping import bits_of_ops, readers_of, real_ops, retyped


def _graph():
    def function(variables, x):
        y = jnp.concatenate([jnp.tanh(x), jax.nn.sigmoid(x)], -1)
        return y * variables, jnp.argmax(y, -1), y > 0.5

    return quant.trace(function, jnp.ones((1, 6)), jnp.ones((2, 3)))[0]


def test_ops_on_reals_are_all_but_changes_of_scale():
    graph = _graph()
    assert "quantize" in {op.kind for op in graph.ops}
    assert list(real_ops(graph)) == [
        n for op in graph.ops if op.kind != "quantize" for n in op.outputs
    ]
    assert set(bits_of_ops(graph).values()) == {8}


def test_the_types_that_a_graph_has_give_that_graph_again():
    graph = quant.keep_float(quant.widen(_graph(), ["tanh"]), ["mul", "greater"])
    same = retyped(graph, bits_of_ops(graph), {n: graph.tensors[n].bits for n in graph.inputs})
    assert [(op.kind, op.inputs, op.outputs) for op in same.ops] == [
        (op.kind, op.inputs, op.outputs) for op in graph.ops
    ]
    assert same.tensors == graph.tensors and same.fixed_ranges == graph.fixed_ranges


@pytest.mark.parametrize("bits", [16, 32])
def test_every_op_has_operands_of_its_type_and_computes_the_same(bits):
    graph = _graph()
    able = {n: op for n, op in real_ops(graph).items() if n in ("tanh", "concatenation", "mul")}
    chosen = {id(op): bits for op in able.values()}
    own = retyped(graph, bits_of_ops(graph) | chosen, {"input": 8})
    for op in own.ops:
        names = [n for n in (*op.inputs, *op.outputs) if own.is_activation(n)]
        found = {own.tensors[n].bits for n in names if own.carried(n) == "float32"}
        assert len(found) == 1 or "quantize" in op.kind
    conversions = {op.kind for op in own.ops if "quantize" in op.kind}
    assert conversions == ({"quantize"} if bits == 16 else {"quantize", "dequantize"})
    weights, x = {n: jnp.ones(s) for n, s in graph.weight_shapes.items()}, jnp.ones((2, 3)) / 3
    jax.tree.map(np.testing.assert_array_equal, own(weights, x), graph(weights, x))


def test_readers_are_seen_through_changes_of_type_and_scale():
    graph = quant.keep_float(_graph(), ["mul"])
    changed = [op.kind for op in graph.ops if "concatenation" in op.inputs]
    assert changed.count("dequantize") == 1
    kinds = {
        n: [op.kind for op in readers_of(graph, n)] for n in ("input", "tanh", "concatenation")
    }
    assert sorted(kinds["input"]) == ["logistic", "tanh"] and kinds["tanh"] == ["concatenation"]
    assert sorted(kinds["concatenation"]) == ["arg_max", "greater", "mul"]
    assert readers_of(graph, "mul") == []
