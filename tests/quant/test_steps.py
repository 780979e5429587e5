import jax
import numpy as np
import pytest
from spread_network import spread

from attokit import quant
from attokit.quant.steps import Steps


@pytest.mark.slow
def test_ops_one_by_one_are_the_graph_in_integers_and_in_float():
    graph, weights, qparams, images = spread()

    @jax.jit
    def run(weights, qparams, images):
        steps = Steps(graph, weights, qparams, "reference", None)
        made = {"input": steps.rounded("input", images)}
        real = {"input": images}
        for i, op in enumerate(graph.ops):
            names = [n for n in op.inputs if graph.is_activation(n)]
            made.update(
                zip(op.outputs, steps.in_integers(i, [made[n] for n in names]), strict=True)
            )
            real.update(zip(op.outputs, steps.in_reals(i, [real[n] for n in names]), strict=True))
        last = len(graph.ops) - 1
        (rounded,) = steps.in_reals(last, [real["mean"]], int16=True)
        return made["head"], real["head"], real["mean"], rounded

    integers, reals, mean, rounded = run(weights, qparams, images)
    np.testing.assert_array_equal(integers, quant.fake_quant(graph)(weights, qparams, images))
    np.testing.assert_allclose(reals, graph(weights, images), rtol=1e-5, atol=1e-5)
    scale = np.asarray(qparams["head/kernel"].scale)
    kernel = np.round(np.asarray(weights["head/kernel"]) / scale) * scale
    entry, made = qparams["head"], np.asarray(mean) @ kernel
    reach = float(entry.scale) * max(127 - float(entry.zero_point), 128 + float(entry.zero_point))
    clipped = np.clip(made, -reach, reach)  # the mean is the float graph's and may lie beyond
    np.testing.assert_allclose(rounded, clipped, atol=reach / 32767 * 0.51)
    assert np.abs(np.asarray(rounded) - made).max() > 0
