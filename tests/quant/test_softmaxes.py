import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 3, 4, 5)
SEEN = np.asarray([True, True, False, True, True])
MASK = np.float32([0, 0, -1e9, 0, 0]).reshape(1, 1, 1, 5)


def _kinds(function, *inputs):
    graph, weights = quant.trace(function, (), *(inputs or (X,)))
    assert error(graph, weights, function, (), *(inputs or (X,))) < 1e-5
    return kinds(graph)


@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("axis", "want"),
    [
        (-1, []),
        (1, ["transpose"]),
        ((1, 2), ["transpose", "reshape"]),
        ((0, 1, 2, 3), ["reshape"]),
    ],
)
def test_any_axes_are_moved_to_the_end(kind, axis, want):
    function = getattr(jax.nn, kind)
    assert _kinds(lambda _, x: function(x, axis=axis)) == [*want, kind, *want[::-1]]


def test_ranks_above_four_are_reshaped():
    x = normal(2, 3, 1, 2, 4)
    assert _kinds(lambda _, x: jax.nn.softmax(x), x) == ["reshape", "softmax", "reshape"]


def test_what_a_row_has_in_common_drops_out():
    def function(_, x, m):
        e = jnp.exp(x - m)
        return e / e.sum(-1, keepdims=True)

    assert _kinds(function, X, normal(2, 3, 4, 1)) == ["softmax"]


def test_what_differs_within_a_row_stays():
    def function(_, x, m):
        e = jnp.exp(x - m)
        return e / e.sum(-1, keepdims=True)

    assert _kinds(function, X, normal(2, 3, 4, 5, seed=1)) == ["sub", "softmax"]


def test_a_sum_over_other_axes_is_no_softmax():
    found = _kinds(lambda _, x: jnp.exp(x) / jnp.exp(x).sum((1, 2))[:, None, None])
    assert "softmax" not in found


def test_values_are_left_out():
    assert _kinds(lambda _, x: jax.nn.softmax(x, where=SEEN)) == [
        "quantize",
        "select",
        "softmax",
        "select",
    ]
    assert _kinds(lambda _, x: jax.nn.softmax(jnp.where(SEEN, x, -1e30) / 2)) == [
        "quantize",
        "select",
        "mul",
        "softmax",
    ]


def test_an_added_mask_is_a_choice():
    assert _kinds(lambda _, x: jax.nn.softmax(x + MASK)) == ["quantize", "select", "softmax"]
    assert _kinds(lambda _, x: jax.nn.softmax(MASK + 0.25 + x)) == ["add", "select", "softmax"]
