import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import export, quant
from attokit.export import inspect
from attokit.export.activations import activations, expose


def _integers(small):
    return np.round(small.images * 255 - 128).astype(np.int8)


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_every_activation_is_there(small, kernels):
    found = activations(small.file, [_integers(small)], kernels)
    assert found.tensors.keys() == small.graph.tensors.keys()
    for name, value in found.tensors.items():
        assert value.shape == (4, *small.graph.tensors[name].shape[1:])
    np.testing.assert_array_equal(found.outputs[0], found.tensors[small.graph.outputs[0]])


def test_an_exposed_copy_has_every_activation_as_output(small):
    info = inspect(small.file)
    exposed = inspect(expose(small.file, info))
    assert len(exposed.main.outputs) == len(info.main.operators)
    assert exposed.macs == info.macs


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_a_file_that_cannot_be_resized_runs_in_parts(kernels):
    """LiteRT's SLICE takes no other batch than the file's."""
    x = np.random.default_rng(0).random((3, 4, 2), np.float32)
    graph, weights = quant.trace(lambda _, x: x[:, 1:3] * jnp.float32(2), {}, x[:1])
    assert "slice" in {op.kind for op in graph.ops}
    qparams = quant.calibrate(graph, weights, [x])
    report = export.verify(
        export.to_tflite(graph, weights, qparams), graph, weights, qparams, x, kernels=kernels
    )
    assert report.exact, report


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x: jnp.vdot(x, x), [(2, 5)]),
        (lambda x: jnp.tanh(x.max()) * 2, [(3,)]),
        (lambda x, y: x * nn.gelu(y) - x.mean(), [(2, 3), ()]),
        (lambda x, i: x[i], [(4, 3), np.int32(-2)]),
    ],
)
def test_numbers_without_axes_are_verified(function, shapes, kernels):
    inputs = [normal(*x) if isinstance(x, tuple) else jnp.asarray(x) for x in shapes]
    graph, weights = quant.trace(lambda _, *x: function(*x), (), *inputs)
    qparams = quant.calibrate(graph, weights, [inputs], input_range=None)
    target = "micro" if kernels == "micro" else "android"
    data = export.to_tflite(graph, weights, qparams, target=target)
    report = export.verify(data, graph, weights, qparams, *inputs, kernels=kernels)
    assert report.exact, report.summary
    found = export.run(data, *inputs, kernels=kernels, dequantize=True)["output"]
    want = function(*inputs)
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, atol=0.05 * float(jnp.abs(want).max()) + 0.02)


def test_a_file_with_shapes_of_its_batch_runs_in_parts():
    def function(token, x):
        return jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, 3)), x], 1)

    graph, weights = quant.trace(function, normal(1, 1, 3), normal(2, 4, 3))
    assert next(iter(weights.values())).shape == (1, 1, 3)  # one token for all examples
    x = normal(4, 4, 3)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    data = export.to_tflite(graph, weights, qparams)
    assert export.verify(data, graph, weights, qparams, x).exact
