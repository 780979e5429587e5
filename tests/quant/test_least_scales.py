import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import export, quant
from attokit.quant.graph import LeastScale
from attokit.quant.least_scales import widened

X = normal(2, 8, seed=1)


@pytest.fixture(scope="module")
def chain():
    """Two hard swishes, one after the other, whose scales training has made too small."""

    def function(v, x):
        return nn.hard_swish(nn.hard_swish(x @ v).reshape(2, 2, 2).max(1))

    graph, weights = quant.trace(function, normal(8, 4), X)
    qparams = quant.calibrate(graph, weights, [X], input_range=None)
    outputs = [op.outputs[0] for op in graph.ops if op.kind == "hard_swish"]
    tiny = quant.QuantParams(jnp.float32(1e-6), jnp.float32(0))
    return graph, weights, qparams | dict.fromkeys(outputs, tiny)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_a_file_of_learned_scales_holds_what_its_kernels_accept(chain, kernels):
    graph, weights, qparams = chain
    target = "micro" if kernels == "micro" else "android"
    data = export.to_tflite(graph, weights, qparams, target=target)
    report = export.verify(data, graph, weights, qparams, X, kernels=kernels)
    assert report.exact, report.summary
    scales = {t.name: t.scale for t in export.inspect(data).main.tensors}
    for op in graph.ops:
        if op.kind == "hard_swish":
            assert scales[op.outputs[0]] > scales[op.inputs[0]] / 128


@pytest.mark.slow
def test_the_integer_graph_widens_alike(chain):
    graph, weights, qparams = chain
    found = quant.integer(graph, weights, qparams, input_type="float32", output_type="float32")(X)
    np.testing.assert_array_equal(found, quant.fake_quant(graph)(weights, qparams, X))


@pytest.mark.slow
def test_a_bounded_scale_gets_no_gradient(chain):
    graph, weights, qparams = chain
    (output,) = graph.outputs

    def loss(scale):
        entry = quant.QuantParams(scale, jnp.float32(0))
        return quant.fake_quant(graph)(weights, qparams | {output: entry}, X).sum()

    assert float(jax.grad(loss)(jnp.float32(1e-6))) == 0
    assert float(jax.grad(loss)(jnp.float32(0.01))) != 0


def test_a_range_that_a_later_bound_widens_bounds_again():
    bounds = tuple(
        LeastScale(range_name=name, other=other, ratio=0.5)
        for name, other in [("c", "b"), ("b", "a")]
    )
    graph, _ = quant.trace(lambda _, x: x * 2, (), X)
    graph = dataclasses.replace(graph, least_scales=bounds)
    found = widened(graph, lambda name: np.float32({"a": 8, "b": 1, "c": 1}[name]), np)
    assert found == {"b": 4, "c": 2}
