import jax
import jax.numpy as jnp
import numpy as np
import pytest
from coral_networks import convolved, network, weights_of

from attokit import export, quant

_WEIGHTS = weights_of(one=(3, 3, 3, 4), two=(1, 1, 4, 4))


def _network(v, x):
    y = jax.nn.hard_swish(4 * convolved(x, v["one"]))
    return jax.nn.hard_swish(convolved(y, v["two"]))


def test_the_function_stays_and_the_file_is_exact_and_fits():
    net = network(_network, _WEIGHTS, 6, 5, 3)
    graph = quant.open_hard_swish(net.graph)
    assert not any(op.kind == "hard_swish" for op in graph.ops)
    np.testing.assert_allclose(
        graph(net.weights, net.images), net.graph(net.weights, net.images), atol=1e-5
    )
    qparams = quant.calibrate(graph, net.weights, [net.images])
    file = export.to_tflite(graph, net.weights, qparams, target="coral")
    assert export.edge_tpu(export.inspect(file)).fits
    values = quant.fake_quant(graph).integers(net.weights, qparams, jnp.asarray(net.images))
    found = export.run(file, net.images, kernels="reference")["output"]
    np.testing.assert_array_equal(found, values[graph.outputs[0]])
    (shifted,) = (name for name in values if name == f"{graph.outputs[0]}/shifted")
    gate = shifted.replace("/shifted", "/gate")
    seen = np.asarray(values[shifted])
    assert len(np.unique(seen)) > 5
    np.testing.assert_array_equal(values[gate], seen)  # divided by its scale alone


def test_some_by_name():
    graph = network(_network, _WEIGHTS, 6, 5, 3).graph
    first = next(op.outputs[0] for op in graph.ops if op.kind == "hard_swish")
    opened = quant.open_hard_swish(graph, [first])
    assert [op.kind for op in opened.ops].count("hard_swish") == 1
    with pytest.raises(ValueError, match="fits 'stem'"):
        quant.open_hard_swish(graph, ["stem"])
    with pytest.raises(ValueError, match="there is nothing to open"):
        quant.open_hard_swish(quant.open_hard_swish(graph))
