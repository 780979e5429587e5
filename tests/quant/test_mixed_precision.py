import dataclasses
import math
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spread_network import spread, swept

from attokit import export, quant
from attokit.quant.sensitivity import Score


def _file_sqnr(graph, weights, qparams, images, wanted):
    """Returns the SQNR of a graph's file, which is proven on the way, in LiteRT's reference kernels."""
    file = export.to_tflite(graph, weights, qparams, output_type="float32", input_type="float32")
    report = export.verify(file, graph, weights, qparams, images)
    assert report.ok and (report.exact or graph.float_ops), report
    (given,) = export.run(file, images, kernels="reference").values()
    return 10 * np.log10(np.sum(wanted**2) / np.sum((given - wanted) ** 2))


@pytest.mark.slow
@pytest.mark.parametrize("raise_to", ["int16", "float32"])
def test_mixed_precision_pays_in_the_file(raise_to):
    graph, weights, qparams, images = spread()
    chosen = quant.choose_precision(swept(raise_to), target_sqnr=25)
    assert chosen.raised == ("loud", "even") and chosen.enough
    assert [step.layer for step in chosen.steps] == ["loud"]
    wanted = np.asarray(graph(weights, images), np.float64)
    before = _file_sqnr(graph, weights, qparams, images, wanted)
    mixed = quant.calibrate(chosen.graph, weights, [images])
    after = _file_sqnr(chosen.graph, weights, mixed, images, wanted)
    assert after > 25 > 10 > before
    np.testing.assert_allclose(after, chosen.steps[-1].score.sqnr, atol=0.5)  # its last bits
    assert chosen.graph.tensors["input"].bits == 8  # the camera's bytes
    assert chosen.kept == (("input",) if raise_to == "int16" else ())


def test_the_choice_is_one_more_graph():
    chosen = quant.choose_precision(swept(), target_sqnr=25)
    assert chosen.raised == ("loud", "even") and chosen.enough and chosen.kept == ("input",)
    types = {name: tensor.integer_type for name, tensor in chosen.graph.tensors.items()}
    assert types["loud"] == types["even"] == "int16" and types["input"] == types["head"] == "int8"


def test_the_most_sensitive_come_first_until_the_budget_is_spent():
    found = swept()
    steps = quant.choose_precision(found, target_sqnr=1000).steps
    noise = [found.quantized.noise, *(step.score.noise for step in steps)]
    assert sorted(noise, reverse=True) == noise and steps[0].layer == "loud"
    assert [step.ops for step in steps] == sorted({step.ops for step in steps})
    two = quant.choose_precision(found, max_ops=2)
    assert two.steps == steps[:1] and not two.enough
    share = steps[0].macs_share
    assert quant.choose_precision(found, max_macs_share=share * 1.001).steps[0] == steps[0]
    less = quant.choose_precision(found, max_macs_share=share * 0.5)
    assert "loud" not in less.raised
    assert quant.choose_precision(found, target_sqnr=-50).graph is found.graph
    never = quant.choose_precision(found, target_metric=9, target_sqnr=-50)
    assert not never.enough and never.steps == steps
    assert quant.choose_precision(found, target_metric=8).steps == ()


class _Cancelling:
    """A sweep of four layers whose errors cancel in part: none alone gains anything if it is raised."""

    _NOISE = MappingProxyType({(): 1.0, (1,): 1.5, (0, 1): 1.2, (0, 1, 2): 0.1})

    def __init__(self, found):
        self._ops = found.graph.ops

    def around(self, position):
        return (position,)

    def names(self, positions):
        return tuple(self._ops[i].outputs[0] for i in sorted(positions))

    def raised(self, positions):
        noise = self._NOISE.get(tuple(sorted(positions)), 2.0)
        return Score(sqnr=-10 * math.log10(noise), metric=None)

    def gain_apart(self, positions):
        (position,) = positions
        return (0.2, 0.3, 0.1, 0.0)[position]


def test_where_no_layer_alone_gains_it_goes_on_by_their_own_noise():
    found = swept()
    sweep = _Cancelling(found)
    layers = [
        dataclasses.replace(layer, raised=sweep.raised(sweep.around(i)))
        for i, layer in enumerate(found.layers)
    ]
    found = dataclasses.replace(
        found, layers=tuple(layers), quantized=sweep.raised(()), sweep=sweep
    )
    chosen = quant.choose_precision(found, target_sqnr=9)
    assert [step.layer for step in chosen.steps] == ["even", "loud", "mean"] and chosen.enough
    assert chosen.raised == ("loud", "even", "mean")
    # Neither of the first steps brings it nearer, so a budget that ends there is not spent.
    little = quant.choose_precision(found, max_ops=2)
    assert little.steps == () and little.graph is found.graph


class _Whole:
    """A sweep of a graph whose ops are raised together, which is enough."""

    def __init__(self, graph):
        self._ops = graph.ops

    def around(self, position):
        return tuple(range(len(self._ops)))

    def names(self, positions):
        ops = [self._ops[i] for i in sorted(positions)]
        return tuple(op.outputs[0] for op in ops if op.kind != "quantize")

    def raised(self, positions):
        return Score(sqnr=30.0 if positions else 0.0, metric=None)


def test_an_input_that_raised_ops_read_on_another_scale_stays_as_it_was_tried():
    def function(_, x):
        return jnp.maximum(x, jnp.asarray([[-0.5, 0.3, 0.1]])) + jax.nn.relu(x - 0.7)

    graph, _ = quant.trace(function, {}, jnp.ones((1, 3)))
    assert [op.kind for op in graph.ops if "input" in op.inputs] == ["quantize", "sub"]
    found, sweep = swept(), _Whole(graph)
    layer = dataclasses.replace(found.layers[0], name="maximum", raised=sweep.raised((0,)))
    found = dataclasses.replace(
        found, graph=graph, layers=(layer,), quantized=sweep.raised(()), sweep=sweep
    )
    chosen = quant.choose_precision(found, target_sqnr=20)
    assert chosen.kept == ("input",) and chosen.graph.tensors["input"].bits == 8
    assert all(chosen.graph.tensors[name].bits == 16 for name in chosen.raised)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing says what is enough: give target_sqnr"),
        ({"max_ops": 0}, "max_ops is 0: give at least 1"),
        ({"max_macs_share": 0}, "max_macs_share is 0: give a share above 0"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        quant.choose_precision(swept(), **options)


@pytest.mark.slow
def test_a_target_of_a_metric_needs_one():
    graph, weights, qparams, images = spread()
    found = quant.sensitivity(graph, weights, qparams, [images])
    with pytest.raises(ValueError, match=r"target_metric 0.9 fits no sweep without a metric"):
        quant.choose_precision(found, target_metric=0.9)
