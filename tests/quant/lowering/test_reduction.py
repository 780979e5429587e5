import flax.linen as nn
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
        (lambda x: nn.max_pool(x, (2, 2), (2, 2)), ["max_pool_2d"]),
        (lambda x: nn.max_pool(x, (3, 2), (1, 2), "SAME"), ["max_pool_2d"]),
        (lambda x: nn.avg_pool(x, (2, 2), (2, 1), count_include_pad=False), ["average_pool_2d"]),
    ],
)
def test_reductions_become_ops(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-5


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: jnp.sum(x, 1), "'sum'"),
        (lambda x: jnp.max(x, 1), "'reduce_max'"),
        (lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))), "may be negative"),
        (lambda x: nn.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), "VALID"), "'window_sum'"),
        (lambda x: nn.max_pool(x[:, 0], (2,), (2,)), "a window reduction"),
        (
            lambda x: jax.lax.reduce_window(
                x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", None, (1, 2, 2, 1)
            ),
            "not dilated",
        ),
    ],
)
def test_what_has_no_op_is_refused(function, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(lambda _, x: function(x), (), X)
