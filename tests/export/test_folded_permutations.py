import jax
import jax.numpy as jnp
import numpy as np
import pytest
from coral_networks import (
    assert_equal_outputs,
    convolved,
    kinds,
    network,
    shuffled,
    weights_of,
    written,
)

from attokit import export
from attokit.export.folded_permutations import fold_permutations

_WEIGHTS = weights_of(
    first=(1, 1, 3, 8), deep=(3, 3, 1, 8), last=(1, 1, 8, 5), bias=(8,), head=(8 * 20, 3)
)


def _behind_a_convolution(v, x):
    y = jax.nn.relu(convolved(x, v["first"]) + v["bias"].reshape(1, 1, 1, -1))
    return jax.nn.relu(convolved(shuffled(y, 2), v["deep"], groups=8))


def _before_a_convolution(v, x):
    y = convolved(x, v["first"])
    y = y + jax.nn.relu(y)  # no weights here
    return convolved(shuffled(y, 4), v["last"])


def _through_a_depthwise_one(v, x):
    y = convolved(x, v["first"])
    y = y + jax.nn.relu(y)
    z = convolved(shuffled(y, 2), v["deep"], groups=8) + v["bias"].reshape(1, 1, 1, -1)
    return convolved(z, v["last"])


def _without_weights(v, x):
    y = convolved(x, v["first"])
    return shuffled(y + jax.nn.relu(y), 2)


def _flattened_channels_first(v, x):
    y = jax.nn.relu(convolved(x, v["first"]))
    return jnp.moveaxis(y, 3, 1).reshape(x.shape[0], -1) @ v["head"]


@pytest.mark.parametrize(
    ("function", "operators"),
    [
        (_behind_a_convolution, {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1}),
        (_before_a_convolution, {"CONV_2D": 2, "RELU": 1, "ADD": 1}),
        (_through_a_depthwise_one, {"CONV_2D": 2, "RELU": 1, "ADD": 1, "DEPTHWISE_CONV_2D": 1}),
        (_without_weights, {"CONV_2D": 2, "RELU": 1, "ADD": 1}),
        (_flattened_channels_first, {"CONV_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}),
    ],
)
def test_the_integers_stay(function, operators, monkeypatch):
    net = network(function, _WEIGHTS, 5, 4, 3)
    plain, changed = written(net, fold_permutations, monkeypatch)
    moving = {"TRANSPOSE", "GATHER"}
    assert kinds(plain).keys() & moving
    assert kinds(changed) == operators
    assert_equal_outputs(plain, changed, net.images)
    assert export.edge_tpu(export.inspect(changed)).fits
    floats = written(net, fold_permutations, monkeypatch, quantized=False)
    wanted, found = (export.run(file, net.images)["output"] for file in floats)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)  # sums in another order


def test_what_repeats_channels_is_no_permutation(monkeypatch):
    twice = np.asarray([0, 3, 3, 1, 5, 2, 2, 6])

    def function(v, x):
        y = convolved(x, v["first"])
        return convolved((y + jax.nn.relu(y))[..., twice], v["last"])

    net = network(function, _WEIGHTS, 5, 4, 3)
    plain, changed = written(net, fold_permutations, monkeypatch)
    assert plain == changed


def test_other_movements_stay(monkeypatch):
    net = network(lambda v, x: jnp.swapaxes(convolved(x, v["first"]), 1, 2), _WEIGHTS, 5, 4, 3)
    plain, changed = written(net, fold_permutations, monkeypatch)
    assert plain == changed
