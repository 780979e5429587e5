import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 4, 6, 3)
ROWS = np.asarray([3, 0])


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: x.at[:, 1].set(0.0), ["select"]),
        (lambda x: x.at[:, ROWS, 2:4].set(normal(2, 2, 2, 3)), ["quantize", "select"]),
        (lambda x: x.at[..., 0].add(0.5), ["add"]),
        (lambda x: x.at[:, np.asarray([1, 1])].add(1.0), ["add"]),
        (
            lambda x: jnp.zeros((2, 6, 8, 3)).at[:, 1:5, 1:7].set(x * 2),
            ["mul", "pad"],
        ),
        (
            lambda x: x.at[:, 1].set(x[:, 0] * 2),
            ["slice", "reshape", "mul", "quantize", "concatenation"],
        ),
    ],
)
def test_writing_at_known_places_becomes_ops(function, want):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert sorted(set(kinds(graph))) == sorted(set(want))
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-6


def test_what_is_the_same_for_every_example_stays_small():
    graph, _ = quant.trace(lambda _, x: x.at[:, 1].set(0.0), (), X)
    assert {array.shape for array in graph.constants.values()} == {(1, 4, 1, 1), (1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x, i: x.at[:, i].set(0.0), "to places that depend"),
        (lambda x, i: x.at[:, ROWS].set(x[:, :2] * 2), "no block"),
        (lambda x, i: x.at[:, 1].add(x[:, 0]), "Pad what is added"),
    ],
)
def test_what_has_no_op_is_refused(function, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(lambda _, x, i: function(x, i), (), X, jnp.asarray([1], jnp.int32))
