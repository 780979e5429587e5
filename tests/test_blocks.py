"""Networks of one block: each becomes a file of integers alone, equal to LiteRT's on every element."""

import jax
import numpy as np
import pytest
from blocks import BLOCKS
from traced import error

from attokit import export, quant

# What every run tries; the others are variations of these, for the slow run.
FIRST = {
    "argmax_head",
    "channel_shuffle",
    "embedding",
    "pixel_shuffle",
    "pyramid_bilinear",
    "threshold_gate",
    "unet",
}
_INTEGERS = {"int8", "int32", "bool"}


@pytest.fixture(autouse=True)
def _as_users_have_it():
    """Networks are the users' code: types and ranks promote as JAX does by default."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _quantized(block):
    graph, weights = quant.trace(block.function, block.variables, *block.inputs)
    qparams = quant.calibrate(graph, weights, [block.inputs], input_range=None)
    return graph, weights, qparams


@pytest.mark.parametrize(
    "name",
    [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in BLOCKS],
)
def test_a_block_is_integers_and_equals_the_reference_kernels(name):
    block = BLOCKS[name]()
    graph, weights, qparams = _quantized(block)
    data = export.to_tflite(graph, weights, qparams)
    assert {tensor.dtype for tensor in export.inspect(data).main.tensors} <= _INTEGERS
    report = export.verify(data, graph, weights, qparams, *block.inputs)
    assert report.exact, report.summary
    assert len(report.rows) > len(graph.ops)


@pytest.mark.parametrize(
    "name",
    [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in BLOCKS],
)
def test_a_graph_takes_other_batches(name):
    block = BLOCKS[name]()
    graph, weights = quant.trace(block.function, block.variables, *block.inputs)
    inputs = [jax.ShapeDtypeStruct((3, *x.shape[1:]), x.dtype) for x in block.inputs]
    want = jax.eval_shape(block.function, block.variables, *inputs)
    found = jax.eval_shape(graph.__call__, weights, *inputs)
    assert jax.tree.map(lambda x: x.shape, found) == jax.tree.map(lambda x: x.shape, want)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["micro", "xnnpack"])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_equals_the_other_runtimes_within_its_bounds(name, kernels):
    block = BLOCKS[name]()
    graph, weights, qparams = _quantized(block)
    target = "micro" if kernels == "micro" else "android"
    data = export.to_tflite(graph, weights, qparams, target=target)
    report = export.verify(data, graph, weights, qparams, *block.inputs, kernels=kernels)
    assert report.ok, report.summary


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_in_float_is_the_function(name):
    block = BLOCKS[name]()
    graph, weights = quant.trace(block.function, block.variables, *block.inputs)
    assert error(graph, weights, block.function, block.variables, *block.inputs) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_a_quantized_block_is_close_to_the_function(name):
    block = BLOCKS[name]()
    graph, weights, qparams = _quantized(block)
    wanted = jax.tree.leaves(block.function(block.variables, *block.inputs))
    found = jax.tree.leaves(quant.fake_quant(graph)(weights, qparams, *block.inputs))
    for a, b in zip(found, wanted, strict=True):
        noise = np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean()
        assert noise < 0.01 * np.square(np.asarray(b, np.float64)).mean() + 1e-9
