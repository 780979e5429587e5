import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, normal

from attokit import quant
from attokit.quant.plan import Ranges, make_plans

X = jax.nn.sigmoid(normal(4, 3))
V = {"kernel": normal(3, 5), "bias": normal(5), "gain": jnp.float32([[1, 2, 3, -4, 0.5]])}


@pytest.fixture(scope="module")
def traced():
    def function(v, x):
        return nn.relu6(x @ v["kernel"] + v["bias"].reshape(1, -1)) * v["gain"]

    graph, weights = quant.trace(function, V, X)
    return graph, weights, quant.calibrate(graph, weights, [X])


def test_weights_are_rounded_to_the_integers_of_the_file(traced):
    graph, weights, qparams = traced
    dense, product = jit(lambda *arguments: make_plans(graph, *arguments, "reference"))(
        weights, qparams
    )
    (_, kernel, bias), (none, gain) = dense.weights, product.weights
    assert none is None
    assert bias.dtype == jnp.int32
    scale = np.asarray(qparams["kernel"].scale)
    np.testing.assert_array_equal(kernel, np.rint(V["kernel"] / scale[None]))
    np.testing.assert_array_equal(np.abs(kernel).max(0), 5 * [127])
    want = np.rint(np.asarray(V["bias"]) / (np.float32(1 / 255) * scale))
    np.testing.assert_array_equal(bias, want)
    entry = qparams["gain"]
    real = np.asarray(gain) * np.float32(entry.scale)
    np.testing.assert_allclose(real, V["gain"], atol=float(entry.scale) / 2)


def test_plans_hold_multipliers_bounds_and_scales(traced):
    graph, weights, qparams = traced
    dense, product = jit(lambda *arguments: make_plans(graph, *arguments, "reference"))(
        weights, qparams
    )
    out = graph.ops[0].outputs[0]
    real = float(qparams["input"].scale) * np.float64(qparams["kernel"].scale)
    real = real / float(qparams[out].scale)
    (multiplier,) = dense.multipliers
    held = np.float64(multiplier.mantissa) * 2.0 ** (np.float64(multiplier.exponent) - 31)
    np.testing.assert_allclose(held, real, rtol=2**-30)
    np.testing.assert_allclose(multiplier.real, real, rtol=1e-6)
    assert float(dense.low[0]) == 0
    assert float(dense.high[0]) == min(
        127 - float(qparams[out].zero_point), round(6 / float(qparams[out].scale))
    )
    assert len(product.multipliers) == 1
    assert product.scales.inputs[1] == qparams["gain"].scale


def test_ranges_know_prescribed_and_missing_entries(traced):
    graph, weights, qparams = traced
    soft, _ = quant.trace(lambda _, x: nn.softmax(x), (), X)
    scale, zero_point = Ranges(soft, {}).activation("softmax")
    assert (float(scale), float(zero_point)) == (1 / 256, -128)
    with pytest.raises(ValueError, match="no entry 'input': they are of another graph"):
        Ranges(graph, {}).activation("input")
    del weights, qparams


def test_constants_have_no_gradient(traced):
    graph, weights, qparams = traced

    def bound(qparams):
        return make_plans(graph, weights, qparams, "reference")[0].high[0]

    gradient = jit(jax.grad(bound))(qparams)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
