import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_files import CODES, Tensor, changed, schema, step, written

from attokit import export, quant

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kernels", ["xnnpack", "reference", "micro"])
def test_batches_of_any_length_give_what_single_images_give(small, kernels):
    runner = export.Runner(small.file, kernels=kernels)
    singles = [runner(image[None])["output"] for image in small.images]
    np.testing.assert_array_equal(runner(small.images)["output"], np.concatenate(singles))
    np.testing.assert_array_equal(runner(small.images[:3])["output"], np.concatenate(singles[:3]))


def test_long_batches_run_in_parts(small):
    runner = export.Runner(small.file)
    images = np.tile(small.images, (150, 1, 1, 1))
    wanted = np.tile(runner(small.images)["output"], (150, 1))
    np.testing.assert_array_equal(runner(images)["output"], wanted)


def test_reals_and_their_integers_give_the_same(small):
    runner = export.Runner(small.file)
    integers = np.round(small.images * 255 - 128).astype(np.int8)
    np.testing.assert_array_equal(runner(integers)["output"], runner(small.images)["output"])


def test_dequantized_outputs_are_near_the_graphs(small):
    found = export.run(small.file, small.images, dequantize=True)["output"]
    wanted = np.asarray(small.graph(small.weights, small.images))
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).max()


def test_unfit_inputs_are_refused(small):
    runner = export.Runner(small.file)
    with pytest.raises(ValueError, match=r"2 inputs given, .* takes 1: input"):
        runner(small.images, small.images)
    with pytest.raises(ValueError, match=r"has shape \(9, 9, 3\), the file takes \(batch, 9, 9"):
        runner(small.images[0])
    with pytest.raises(ValueError, match="is int16, the file takes int8"):
        runner(small.images.astype(np.int16))
    with pytest.raises(ValueError, match="the batch is empty"):
        runner(small.images[:0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(small, value):
    images = np.array(small.images)
    images[0, 1, 2] = value
    with pytest.raises(ValueError, match=r"input 'input' has 3 values .* int8 cannot hold; clean"):
        export.Runner(small.file)(images)


def test_unknown_kernels_and_missing_runtimes_are_named(small, monkeypatch):
    with pytest.raises(ValueError, match="no kernel set 'cmsis'"):
        export.Runner(small.file, kernels="cmsis")
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro", None)
    with pytest.raises(ValueError, match=r"attokit\[micro\]"):
        export.Runner(small.file, kernels="micro")
    with pytest.raises(ValueError, match=r"cannot read .nowhere\.tflite."):
        export.Runner("nowhere.tflite")


def test_operators_that_tflite_micro_has_not_are_named():
    graph, weights = quant.trace(lambda _, x: jax.nn.gelu(x), (), jnp.ones((1, 4)))
    with pytest.raises(
        ValueError,
        match=r"refuses the flatbuffer: GELU: TFLite Micro has no such operator .*; or choose",
    ):
        export.run(export.to_tflite(graph, weights), jnp.ones((1, 4)), kernels="micro")


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_a_file_that_holds_its_batch_runs_others_one_by_one(kernels):
    v, x = jnp.asarray(RNG.normal(size=(3, 3, 2, 2)), jnp.float32), jnp.ones((1, 3, 3, 2))
    graph, weights = quant.trace(lambda v, x: jax.lax.conv_transpose(x, v, (2, 2), "SAME"), v, x)
    qparams = quant.calibrate(graph, weights, [x])
    images = RNG.random((3, 3, 3, 2), np.float32)
    got = export.run(export.to_tflite(graph, weights, qparams), images, kernels=kernels)
    want = quant.fake_quant(graph, kernels).integers(weights, qparams, images)
    np.testing.assert_array_equal(got["output"], want[graph.outputs[0]])


def _shaped(name, sizes):
    return Tensor(name=name, shape=(len(sizes),), dtype="int32", data=np.int32(sizes))


def _flattened(x):
    """Returns a softmax of everything at once: [1, -1] holds the file's batch."""
    row = Tensor(name="row", shape=(1, 6), dtype="float32")
    end = Tensor(name="end", shape=(1, 6), dtype="float32")
    shape = schema.ReshapeOptionsT()
    beta = schema.SoftmaxOptionsT(beta=1.0)
    return [
        step(CODES.RESHAPE, (x, _shaped("sizes", [1, -1])), row, shape),
        step(CODES.SOFTMAX, (row,), end, beta),
    ]


def _first(x):
    """Returns a part of the first example: a size of 1 holds the file's batch."""
    end = Tensor(name="end", shape=(1, 1, 3), dtype="float32")
    places = (_shaped("begin", [0, 0, 0]), _shaped("size", [1, 1, 3]))
    return [step(CODES.SLICE, (x, *places), end, schema.SliceOptionsT())]


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
@pytest.mark.parametrize("body", [_flattened, _first])
def test_a_batch_in_a_constant_is_kept(body, kernels):
    x = Tensor(name="x", shape=(1, 2, 3), dtype="float32")
    file, images = written([x], body(x)), RNG.random((4, 2, 3), np.float32)
    singles = [export.run(file, image[None], kernels=kernels)["end"] for image in images]
    got = export.run(file, images, kernels=kernels)["end"]
    np.testing.assert_array_equal(got, np.concatenate(singles))


def test_first_axes_that_are_no_batch():
    x, y = (Tensor(name=n, shape=(k, 2), dtype="float32") for n, k in (("x", 1), ("y", 3)))
    end = Tensor(name="end", shape=(3, 2), dtype="float32")
    file = written([x, y], [step(CODES.ADD, (x, y), end, schema.AddOptionsT())])
    values = RNG.random((1, 2), np.float32), RNG.random((3, 2), np.float32)
    np.testing.assert_allclose(export.run(file, *values)["end"], values[0] + values[1])
    with pytest.raises(ValueError, match=r"first axes \[2, 3\], the file takes \[1, 3\]"):
        export.run(file, np.ones((2, 2), np.float32), values[1])


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_each_run_starts_afresh(kernels):
    def tensor(name, shape, data=None):
        return Tensor(name=name, shape=shape, dtype="float32", data=data)

    # A memory of one step that is added to.
    x, end = tensor("x", (1, 2)), tensor("end", (1, 2))
    weights = [
        tensor(f"w{i}", s, np.full(s, 0.5, np.float32))
        for i, s in enumerate([(2, 2), (2, 2), (2,)])
    ]
    state = tensor("state", (1, 2))
    options = schema.RNNOptionsT(fusedActivationFunction=schema.ActivationFunctionType.TANH)
    file = written([x], [step(CODES.RNN, (x, *weights, state), end, options)])
    file = changed(file, "state", isVariable=True)
    runner = export.Runner(file, kernels=kernels)
    value = np.float32([[1, 2]])
    np.testing.assert_array_equal(runner(value)["end"], runner(value)["end"])
