import jax
import jax.numpy as jnp
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 6, 5, 3)


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: jnp.mean(x, (1, 2)), ["mean"]),
        (lambda x: jnp.mean(x, -1, keepdims=True), ["mean"]),
        (lambda x: jnp.sum(x, 1) / 6, ["mean"]),
        (lambda x: jnp.sum(x, 1), ["mean", "mul"]),
        (lambda x: jnp.max(x, (1, 2)), ["reduce_max"]),
        (lambda x: jnp.min(x, -1, keepdims=True), ["reduce_min"]),
        (lambda x: jnp.all(x > 0, 1), ["greater", "reduce_all"]),
        (lambda x: jnp.any(x > 0, 1), ["greater", "logical_not", "reduce_all", "logical_not"]),
        (lambda x: jnp.argmax(x, -1), ["arg_max"]),
        (lambda x: jnp.argmin(x, 1, keepdims=True), ["arg_min", "reshape"]),
        (lambda x: jax.nn.one_hot(jnp.argmax(x, -1), 3), ["arg_max", "reshape", "equal", "select"]),
    ],
)
def test_reductions_become_ops(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-5


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: jnp.sum(jnp.argmax(x, -1), 1), "a sum of int32"),
        (lambda x: jnp.max(jnp.argmax(x, -1), 1), "reduce_max of int32"),
        (
            lambda x: jax.lax.reduce_and_p.bind(jnp.argmax(x, -1), axes=(1,)),
            "a bitwise reduction of int32",
        ),
    ],
)
def test_what_has_no_op_is_refused(function, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(lambda _, x: function(x), (), X)
