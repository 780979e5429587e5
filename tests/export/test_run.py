import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
        ValueError, match="refuses the flatbuffer: TFLite Micro has no GELU; choose"
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
