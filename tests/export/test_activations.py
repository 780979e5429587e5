import jax.numpy as jnp
import numpy as np
import pytest

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
