import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.quant.commuting import channel_vector
from attokit.quant.lowering.values import Known

X, K, W = normal(4, 6), normal(6, 6), normal(2, 3)


def _kinds(function):
    graph, weights = quant.trace(function, (K, W), X)
    assert error(graph, weights, function, (K, W), X) < 1e-5
    return kinds(graph)


def test_what_is_one_value_per_channel_moves_through_reshapes_and_transposes():
    assert _kinds(
        lambda v, x: nn.relu(
            ((x @ v[0]).reshape(2, 2, 2, 3) * v[1][None, None] - 1) + v[1][None, None]
        )
    ) == ["fully_connected+relu", "reshape"]
    assert _kinds(
        lambda v, x: nn.relu((x @ v[0]).reshape(4, 2, 3).transpose(2, 0, 1) + v[1].T[:, None])
    ) == [
        "fully_connected+relu",
        "reshape",
        "transpose",
    ]


def test_what_varies_along_rows_stays():
    assert _kinds(lambda v, x: (x @ v[0]).reshape(2, 2, 6) + v[0][None, :2]) == [
        "fully_connected",
        "reshape",
        "add",
    ]


def test_what_is_read_twice_stays():
    def function(v, x):
        y = (x @ v[0]).reshape(4, 2, 3)
        return jnp.concatenate([y * v[1][None], y], axis=1)

    assert _kinds(function) == ["fully_connected", "reshape", "mul", "concatenation"]


def test_nothing_passes_a_rectifier():
    assert _kinds(lambda v, x: nn.relu(x @ v[0]).reshape(4, 2, 3) * v[1][None]) == [
        "fully_connected+relu",
        "reshape",
        "mul",
    ]


@pytest.mark.parametrize(
    ("array", "want"),
    [
        (np.float32(2), [2, 2, 2]),
        (np.float32([1, 2, 3]), [1, 2, 3]),
        (np.float32([[4], [4]]) * np.float32([1, 2, 3]), [4, 8, 12]),
        (np.float32([[1], [2]]), None),
        (np.zeros((1, 1, 1, 3), np.float32), None),
    ],
)
def test_a_vector_per_channel_is_found_or_not(array, want):
    found = channel_vector(Known(np.asarray(array)), (5, 2, 3))
    assert found is None if want is None else found.tolist() == want


@pytest.mark.parametrize(
    ("array", "want"),
    [
        (np.ones((2, 3), np.float32), None),  # equal now, but two rows
        (np.broadcast_to(np.ones((1, 3), np.float32), (2, 3)), [1, 1, 1]),
        (np.broadcast_to(np.float32(2), (2, 3)), [2, 2, 2]),
        (np.ones((2, 1), np.float32), None),
    ],
)
def test_of_a_weight_only_what_was_broadcast_is_one_value_per_channel(array, want):
    found = channel_vector(Known(array, "w"), (5, 2, 3))
    assert found is None if want is None else found.tolist() == want
