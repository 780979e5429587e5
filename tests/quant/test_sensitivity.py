import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spread_network import spread, swept
from traced import normal

from attokit import quant


def test_the_sweep_finds_the_bad_layer():
    found = swept()
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == ["loud", "even", "mean", "head"]
    best = max(found.layers, key=lambda layer: layer.raised.sqnr)
    assert best.name == "loud" and best.around == ("loud", "even")
    assert best.raised.sqnr > found.quantized.sqnr + 20
    # Both that touch the bad tensor ruin the outputs alone; the others do not.
    assert max(layers[n].alone.sqnr for n in ("loud", "even")) < 10
    assert min(layers[n].alone.sqnr for n in ("mean", "head")) > 30
    assert found.real.sqnr == math.inf
    assert sum(layer.macs for layer in found.layers) == found.graph.macs()
    assert best.alone.metric == best.raised.metric == 8


@pytest.mark.slow
def test_all_quantized_is_the_integer_graph():
    graph, weights, qparams, images = spread()
    given = np.asarray(quant.fake_quant(graph)(weights, qparams, images), np.float64)
    real = np.asarray(graph(weights, images), np.float64)
    want = 10 * np.log10(np.sum(real**2) / np.sum((given - real) ** 2))
    np.testing.assert_allclose(swept().quantized.sqnr, want, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("raise_to", ["int16", "float32"])
def test_what_the_sweep_foretells_is_what_the_graph_does(raise_to):
    graph, weights, qparams, images = spread()
    del qparams
    for layer in swept(raise_to).layers:
        change = quant.widen if raise_to == "int16" else quant.keep_float
        extra = {"keep": ["input"]} if raise_to == "int16" else {}
        mixed = change(graph, layer.around, **extra)
        own = quant.calibrate(mixed, weights, [images])
        found = quant.signal_to_noise(mixed, weights, own, [images])
        # int16 is foretold but for its last bits, of which little noise is made.
        np.testing.assert_allclose(found.outputs["output"], layer.raised.sqnr, atol=0.5)


@pytest.mark.slow
def test_ops_without_int16_and_shared_weights_say_why():
    def network(v, x):
        return jnp.argmax(jnp.tanh(nn.hard_swish(x @ v) * v[:1]) * v[:1], -1)

    x = normal(4, 5)
    graph, weights = quant.trace(network, normal(5, 5), x)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    found = quant.sensitivity(graph, weights, qparams, [x])
    reasons = {layer.kind: layer.why_not for layer in found.layers}
    assert "has hard_swish for int16" in reasons["hard_swish"]
    assert 0 <= found.quantized.noise <= 1  # the share of places that differ
    assert all(layer.raised is None for layer in found.layers if layer.why_not)
    everything = quant.sensitivity(graph, weights, qparams, [x], raise_to="float32")
    assert not any(layer.why_not for layer in everything.layers)
    assert jax.tree.leaves(graph(weights, x))[0].dtype == jnp.int32


def test_bad_input():
    graph, weights, qparams, images = spread()
    with pytest.raises(ValueError, match="raise_to 'int4' is none of int16, float32"):
        quant.sensitivity(graph, weights, qparams, [images], raise_to="int4")
    with pytest.raises(ValueError, match="there is no batch"):
        quant.sensitivity(graph, weights, qparams, [])
