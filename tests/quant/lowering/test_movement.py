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
    ],
)
def test_movement_becomes_ops(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-6


@pytest.mark.parametrize("function", [lambda x: x.reshape(len(x), -1), lambda x: x[:, 1::2]])
def test_the_batch_may_grow(function):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert error(graph, weights, lambda _, x: function(x), (), normal(5, 4, 6, 3)) < 1e-6


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: jnp.pad(x, 1, constant_values=1), "a pad with filling 1"),
        (lambda x: jax.lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))), "a pad with"),
        (lambda x: jnp.pad(x, 1, mode="reflect"), "'rev'|no graph op"),
        (lambda x: jnp.concatenate([x, jnp.zeros((2, 1, 6, 3))], 1), "with a constant"),
        (lambda x: jnp.stack([x, jnp.zeros(x.shape)], 1), "with a constant"),
        (lambda x: jnp.broadcast_to(x[:, :1], (2, 4, 6, 3)), "'broadcast'"),
        (lambda x: x[:, ::-1], "'rev'"),
    ],
)
def test_what_has_no_op_is_refused(function, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(lambda _, x: function(x), (), X)
