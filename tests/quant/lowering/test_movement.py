import jax
import jax.numpy as jnp
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 4, 6, 3)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: x.reshape(2, -1), ["reshape"]),
        (lambda x: x[:, None], ["reshape"]),
        (
            lambda x: jax.lax.reshape(x, (2, 12, 6), dimensions=(0, 3, 1, 2)),
            ["transpose", "reshape"],
        ),
        (lambda x: jnp.squeeze(x[:, :1], 1), ["slice", "reshape"]),
        (lambda x: jnp.expand_dims(x, (1, 3)), ["reshape"]),
        (lambda x: x.transpose(0, 2, 1, 3), ["transpose"]),
        (lambda x: x.transpose(0, 1, 2, 3), []),
        (lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 2))), ["pad"]),
        (lambda x: jnp.pad(x, 0), []),
        (lambda x: jnp.concatenate([x + 1, x + 2], 2), ["add", "add", "concatenation"]),
        (
            lambda x: jnp.stack([x + 1, x + 2], 1),
            ["add", "add", "reshape", "reshape", "concatenation"],
        ),
        (lambda x: x[:, 1:3, :, :2], ["slice"]),
        (lambda x: x[:, 1::2], ["strided_slice"]),
        (lambda x: jnp.split(x, [1, 3], 1)[1], ["slice"]),
        (lambda x: x[:], []),
        (lambda x: x[:, ::-1], ["reverse"]),
        (lambda x: jnp.flip(x, (1, 3)), ["reverse", "reverse"]),
        (lambda x: jnp.pad(x, 1, constant_values=1), ["quantize", "pad_v2"]),
        (
            lambda x: jax.lax.pad(x, 0.0, ((0, 0, 0), (-1, 2, 0), *2 * [(0, 0, 0)])),
            ["slice", "pad"],
        ),
        (lambda x: jnp.concatenate([x, X[:, :1]], 1), ["quantize", "concatenation"]),
        (lambda x: jnp.concatenate([jnp.zeros((2, 1, 6, 3)), x], 1), ["pad"]),
        (
            lambda x: jnp.concatenate([x, jnp.ones((2, 1, 6, 3)), x], 1),
            ["quantize", "quantize", "concatenation"],
        ),
        (lambda x: jnp.stack([x, X], 1), ["reshape", "quantize", "concatenation"]),
        (lambda x: jnp.stack([x, jnp.zeros(x.shape)], 1), ["reshape", "pad"]),
        (lambda x: jnp.broadcast_to(x[:, :1], (2, 4, 6, 3)), ["slice", "broadcast_to"]),
        (lambda x: jnp.tile(x, (1, 2, 1, 3)), ["concatenation", "concatenation"]),
        (lambda x: jnp.tile(x, (1, 9, 1, 1)), ["reshape", "broadcast_to", "reshape"]),
    ],
)
def test_movement_becomes_ops(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-6


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(len(x), -1),
        lambda x: x[:, 1::2],
        lambda x: jnp.tile(x, (1, 9, 1, 1)),
        lambda x: jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), constant_values=2),
    ],
)
def test_the_batch_may_grow(function):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert error(graph, weights, lambda _, x: function(x), (), normal(5, 4, 6, 3)) < 1e-6


def test_what_is_empty_adds_nothing():
    def function(x):
        return x + jnp.concatenate([x[:, :0], jnp.ones((2, 4, 6, 3))], 1)

    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == ["add"]
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-6


def test_cells_between_values_are_padded_rows():
    def function(x):
        return jax.lax.pad(x, 0.5, ((0, 0, 0), (1, 0, 1), (0, -1, 2), (0, 0, 0)))

    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert set(kinds(graph)) == {"reshape", "quantize", "pad_v2", "slice"}
    assert error(graph, weights, lambda _, x: function(x), (), normal(5, 4, 6, 3)) < 1e-6


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (
            lambda x: jax.lax.pad(x, 0.0, ((0, 0, 1), (0, 0, 0), (0, 0, 0), (0, 0, 0))),
            "between the examples",
        ),
        (lambda x: jax.lax.pad(X, x[0, 0, 0, 0], ((0, 0, 0),) * 4), "depends on the inputs"),
    ],
)
def test_what_has_no_op_is_refused(function, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(lambda _, x: function(x), (), X)
