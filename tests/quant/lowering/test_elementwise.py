import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.quant.lowering import elementwise
from attokit.quant.lowering.values import Builder, Symbol

X = normal(3, 5)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: jnp.maximum(x, 0), ["relu"]),
        (lambda x: jnp.maximum(0, x), ["relu"]),
        (lambda x: jnp.minimum(jnp.maximum(x, 0), 6), ["relu6"]),
        (lambda x: jnp.clip(x, 0, 6), ["relu6"]),
        (lambda x: jnp.clip(x, -1, 1), ["relu_n1_to_1"]),
        (lambda x: jnp.maximum(-1, jnp.minimum(1, x)), ["relu_n1_to_1"]),
        (lambda x: jax.lax.clamp(0.0, x, 6.0), ["relu6"]),
        (lambda x: jnp.maximum(x, -jnp.inf), []),
        (lambda x: jnp.minimum(x, jnp.inf), []),
        (lambda x: -x, ["mul"]),
        (lambda x: jnp.square(x), ["mul"]),
        (lambda x: x**3, ["mul"] * 2),
        (lambda x: x**4, ["lookup"]),
        (lambda x: x**-2, ["lookup"]),
        (lambda x: jnp.minimum(x, 5), ["minimum"]),
        (lambda x: jnp.clip(x, -2, 0.5), ["maximum", "minimum"]),
        (lambda x: jnp.maximum(x, x[:, :1]), ["slice", "maximum"]),
        (lambda x: x / (x[:, :1] ** 2 + 1), ["slice", "lookup", "mul"]),
        (lambda x: jnp.where(x[:, :1] > x, x, 2.0), ["slice", "greater", "quantize", "select"]),
        (
            lambda x: (x > x[:, :1]).astype(jnp.float32) * x,
            ["slice", "greater", "select", "mul"],
        ),
        (
            lambda x: jnp.where((x > x[:, :1]) & ~(x > x[:, 1:2]) ^ (x < x[:1, :]), x, -x),
            None,
        ),
        (lambda x: x + x[:, :1], ["slice", "add"]),
    ],
)
def test_arithmetic_becomes_ops(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert want is None or kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-5


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x ** x[:, :1], "a power of shapes"),
        (lambda x: x.view(jnp.int32) ^ 1, "bitcast"),
        (lambda x: x.astype(jnp.int8), "conversion from float32 to int8"),
    ],
)
def test_what_has_no_op_is_refused(function, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(lambda _, x: function(x), (), X)


def test_float_types_are_one_in_the_graph():
    def function(_, x):
        return (x.astype(jnp.bfloat16) + jnp.bfloat16(1)).astype(jnp.float32)

    graph, weights = quant.trace(function, (), X)
    assert kinds(graph) == ["add"]
    np.testing.assert_allclose(graph(weights, X), X + 1, rtol=1e-6)


def test_an_index_chooses_among_several():
    build = Builder()
    which, *cases = (Symbol((2,), np.dtype(t)) for t in ("int32", "float32", "float32", "float32"))
    elementwise.select_n(build, {}, which, *cases)
    assert [node.kind for node in build.nodes] == ["less_equal", "select"] * 2
    assert build.nodes[1].inputs == [build.nodes[0].output, cases[1], cases[2]]
    assert build.nodes[3].inputs == [build.nodes[2].output, cases[0], build.nodes[1].output]
    assert build.nodes[2].inputs[1].scalar() == 0
