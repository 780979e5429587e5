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
        (lambda x: x[:, :1] ** np.full((1, 5), 0.5, np.float32), r"a power of shapes \(3, 1\) and"),
        (lambda x: jax.lax.rem(x[:, :1], np.ones((1, 5), np.float32)), "a remainder of float32"),
        (lambda x: x % x[:, :1], "a remainder of float32 of shapes"),
        (lambda x: jnp.argmax(x, -1) % 2, "a remainder of int32"),
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


SEEN = np.tri(6, 4, dtype=bool)[None]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.where(SEEN, x, 0.0),
        lambda x: jnp.where(jnp.broadcast_to(SEEN, x.shape) & (np.arange(4) > 0)[None, None], x, 2),
        lambda x: jnp.where(jnp.broadcast_to(x[:, :1] > 0, x.shape), 1.0, 0.0),
        lambda x: x * (jnp.ones(x.shape) + 1),
        lambda x: jnp.concatenate([jnp.broadcast_to(jnp.arange(4.0)[None, None], (x.shape[0], 1, 4)), x], 1),
        lambda x: jnp.where(x > 0, jnp.nan, x * 2),
    ],
)  # fmt: skip
def test_constants_fit_every_batch(function):
    graph, weights = quant.trace(lambda _, x: function(x), (), normal(2, 6, 4))
    x = jnp.abs(normal(3, 6, 4)) * np.float32([[[1], [-1], [1], [-1], [1], [-1]]])
    found, want = graph(weights, x), function(x)
    assert found.shape == want.shape
    assert not jnp.isnan(found).any()
    np.testing.assert_allclose(jnp.where(jnp.isnan(want), found, want), found, rtol=1e-6)


THREE = np.full((1, 1, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * THREE,
        lambda x: jnp.maximum(x, 0 * THREE),
        lambda x: jnp.minimum(jnp.maximum(x, 0 * THREE), 12 * THREE),
        lambda x: jnp.where((x > 0) & (THREE > 0), 1.0, 2.0),
    ],
)
def test_neither_operand_is_as_wide_as_the_result(function):
    x = normal(2, 6, 1)
    graph, weights = quant.trace(lambda _, x: function(x), (), x)
    assert graph.tensors[graph.outputs[0]].shape == (2, 6, 3)
    np.testing.assert_array_equal(graph(weights, x), function(x))


def test_a_negative_bound_of_indices_is_no_rectifier():
    graph, _ = quant.trace(lambda v, i: v[jnp.clip(i, 0, 1)], normal(3, 2), jnp.asarray([0, 5]))
    assert kinds(graph)[:2] == ["maximum", "minimum"]
