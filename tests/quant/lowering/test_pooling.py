import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.quant.lowering.pooling import Windows

X, SIGNAL = normal(2, 6, 5, 3), normal(2, 7, 3)
AROUND = ((1, 1), (1, 1))


def _reduced(function, initial, window, strides, padding="VALID"):
    return lambda x: jax.lax.reduce_window(x, initial, function, window, strides, padding)


@pytest.mark.parametrize(
    ("function", "x", "want"),
    [
        (lambda x: nn.max_pool(x, (2, 2), (2, 2)), X, ["max_pool_2d"]),
        (lambda x: nn.max_pool(x, (3, 2), (1, 2), "SAME"), X, ["max_pool_2d"]),
        (lambda x: nn.max_pool(x, (3, 3), (2, 2), AROUND), X, ["pad_v2", "max_pool_2d"]),
        (
            lambda x: nn.max_pool(nn.relu(x), (3, 3), (2, 2), AROUND),
            X,
            ["relu", "pad", "max_pool_2d"],
        ),
        (lambda x: nn.max_pool(x, (2,), (2,)), SIGNAL, ["reshape", "max_pool_2d", "reshape"]),
        (
            _reduced(jax.lax.max, -np.inf, (1, 1, 2, 2), (1, 1, 2, 1)),
            X,
            ["transpose", "max_pool_2d", "transpose"],
        ),
        (
            _reduced(jax.lax.min, np.inf, (1, 2, 2, 1), (1, 2, 2, 1)),
            X,
            ["mul", "max_pool_2d", "mul"],
        ),
        (_reduced(jax.lax.max, -np.inf, (1, 1, 1, 1), (1, 1, 1, 1)), X, []),
        (
            lambda x: nn.avg_pool(x, (2, 2), (2, 1), count_include_pad=False),
            X,
            ["average_pool_2d"],
        ),
        (
            lambda x: nn.pool(x, 0.0, jax.lax.add, (3, 3), (2, 2), "SAME") / jnp.float32(9),
            X,
            ["pad", "average_pool_2d"],
        ),
        (
            jax.vmap(lambda x: nn.avg_pool(x, (2, 2), (2, 2), count_include_pad=False)),
            X,
            ["average_pool_2d"],
        ),
        (
            lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False),
            X,
            ["average_pool_2d"],
        ),
        (
            lambda x: nn.avg_pool(x, (3, 3), (2, 2), AROUND, count_include_pad=False),
            X,
            ["pad", "average_pool_2d", "mul"],
        ),
        (
            lambda x: nn.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), "VALID"),
            X,
            ["average_pool_2d", "mul"],
        ),
    ],
)
def test_pools_become_pools_of_images(function, x, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), x)
    assert kinds(graph) == want
    assert error(graph, weights, lambda _, x: function(x), (), normal(3, *x.shape[1:])) < 1e-5


def test_an_image_needs_no_batch():
    pool = _reduced(jax.lax.max, -np.inf, (2, 2, 1), (2, 2, 1))
    graph, weights = quant.trace(lambda _, x: pool(x), (), X[0])
    assert kinds(graph) == ["reshape", "max_pool_2d", "reshape"]
    assert error(graph, weights, lambda _, x: pool(x), (), X[0]) == 0


def test_counts_are_of_the_cells_inside():
    windows = Windows((1, 3, 2), (1, 2, 1), ((0, 0), (1, 1), (0, 1)))
    ones = jnp.ones((2, 5, 4))
    total = _reduced(jax.lax.add, 0.0, *_of(windows))(ones)
    counts = np.broadcast_to(windows.counts(ones.shape), total.shape)
    np.testing.assert_array_equal(counts, total)


def _of(windows):
    return windows.sizes, windows.strides, windows.padding


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (_reduced(jax.lax.max, -np.inf, (1, 2, 2, 2), (1, 1, 1, 1)), "pool twice"),
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
