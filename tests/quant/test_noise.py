import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spread_network import spread
from traced import jit

from attokit import quant
from attokit.quant.noise import LayerNoise, Noise, decibels


@functools.cache
def _found():
    graph, weights, qparams, images = spread()
    return quant.signal_to_noise(graph, weights, qparams, [images])


@functools.cache
def _reals():
    """Every activation of the float graph, and what the integer graph has in its place."""
    graph, weights, qparams, images = spread()
    integers = quant.fake_quant(graph).integers(weights, qparams, images)
    given = {n: _real(np.asarray(x), qparams[n]) for n, x in integers.items()}
    reals = jit(graph.intermediates)(weights, images)
    return {n: np.asarray(x) for n, x in reals.items()}, given


def _real(integers, entry):
    return (integers - float(entry.zero_point)) * float(entry.scale)


def _rounded(values, entry):
    integers = np.round(values / float(entry.scale) + float(entry.zero_point))
    return _real(np.clip(integers, -128, 127), entry)


def _sqnr(real, given):
    return 10 * np.log10(np.sum(real**2) / np.sum((given - real) ** 2))


@pytest.mark.slow
def test_accumulated_noise_is_that_of_the_integer_graph():
    reals, given = _reals()
    layers = {layer.tensor: layer for layer in _found().layers}
    assert list(layers) == ["input", "loud", "even", "mean", "head"]
    for name in list(layers)[1:]:
        want = _sqnr(reals[name], given[name])
        np.testing.assert_allclose(layers[name].accumulated, want, atol=1e-3)  # sums in float32
    assert layers["input"].accumulated > 120  # bytes: exact but for the last bit of float32
    assert _found().outputs == {"output": layers["head"].accumulated}


@pytest.mark.slow
def test_own_noise_is_of_one_op_that_reads_the_float_graphs_values():
    _, weights, qparams, _ = spread()
    reals, _ = _reals()
    scale = np.asarray(qparams["head/kernel"].scale)
    kernel = np.round(np.asarray(weights["head/kernel"]) / scale) * scale
    given = _rounded(_rounded(reals["mean"], qparams["mean"]) @ kernel, qparams["head"])
    head = {layer.tensor: layer for layer in _found().layers}["head"]
    np.testing.assert_allclose(head.own, _sqnr(reals["head"], given), atol=0.1)  # but for ties
    assert head.own > head.accumulated + 10


def test_the_bad_layer_stands_out():
    found = _found()
    assert [layer.tensor for layer in found.main_layers] == [
        "even"
    ]  # it reads what is rounded badly
    assert found.stands_out
    assert found.main_layers[0].share > 0.9
    np.testing.assert_allclose(sum(layer.share for layer in found.layers), 1)


@pytest.mark.slow
def test_examples_come_with_the_largest_error_first():
    reals, given = _reals()
    noise = np.sum((given["head"] - reals["head"]) ** 2, 1)
    errors = np.sqrt(noise / np.mean(np.sum(reals["head"] ** 2, 1)))
    found = _found().examples
    assert [example.index for example in found] == np.argsort(-errors).tolist()
    np.testing.assert_allclose([e.error for e in found], np.sort(errors)[::-1], rtol=1e-3)


@pytest.mark.slow
def test_batches_add_up_and_masks_and_indices_are_left_out():
    def network(_, x, mask):
        return jax.nn.softmax(jnp.where(mask, x, -1e9)), jnp.argmax(x, -1)

    random = np.random.default_rng(0)
    x, mask = random.random((6, 5)).astype(np.float32), random.random((6, 5)) < 0.7
    graph, weights = quant.trace(network, (), x, mask)
    qparams = quant.calibrate(graph, weights, [(x, mask)])
    whole = quant.signal_to_noise(graph, weights, qparams, [(x, mask)])
    halves = [(x[:3], mask[:3]), (x[3:], mask[3:])]
    parts = quant.signal_to_noise(graph, weights, qparams, halves)
    kinds = [layer.kind for layer in whole.layers]
    assert {"input", "select", "softmax"} == set(kinds) - {"quantize"}
    assert all(layer.accumulated > 20 for layer in whole.layers)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        np.testing.assert_allclose(one.accumulated, other.accumulated, rtol=1e-5)
    assert whole.outputs.keys() == {"output_0"}
    assert sorted(e.index for e in parts.examples) == list(range(6))


def test_noise_that_is_spread_stands_out_nowhere():
    layer = LayerNoise(tensor="a", kind="add", accumulated=30.0, own=30.0, share=0.25)
    even = Noise(layers=(layer,) * 4, outputs={}, examples=())
    assert len(even.main_layers) == 2 and not even.stands_out
    silent = Noise(layers=(dataclasses.replace(layer, share=0.0),), outputs={}, examples=())
    assert silent.main_layers == () and not silent.stands_out


def test_decibels():
    assert decibels(100, 1) == 20
    assert decibels(1, 0) == decibels(0, 0) == math.inf
    assert decibels(0, 1) == -math.inf


def test_bad_input():
    graph, weights, qparams, images = spread()
    with pytest.raises(ValueError, match="there is no batch; give a few dozen inputs"):
        quant.signal_to_noise(graph, weights, qparams, [])
    with pytest.raises(ValueError, match="input 'input' has shape"):
        quant.signal_to_noise(graph, weights, qparams, [images[:, :4]])
    with pytest.raises(ValueError, match="no kernel set 'other'"):
        quant.signal_to_noise(graph, weights, qparams, [images], kernels="other")
