import hashlib
import os

import jax
import numpy as np
import pytest
from row_networks import branching
from traced import normal, variables_of

from attokit import export, quant, zoo
from attokit.arena import arena
from attokit.export.memory_plan import planned_size


def test_the_signature_has_the_graphs_names(small):
    info = export.inspect(small.file)
    assert list(info.inputs) == list(small.graph.inputs)
    assert list(info.outputs) == list(small.graph.output_names)
    assert list(info.signatures) == ["serving_default"]


def test_every_activation_is_int8_and_every_bias_int32(small):
    info = export.inspect(small.file)
    assert info.float_operators == 0
    assert {t.dtype for t in info.main.tensors if not t.constant} == {"int8"}
    assert {t.dtype for t in info.main.tensors if t.is_parameter} == {"int8", "int32"}


def test_the_same_graph_gives_the_same_bytes(small):
    again = export.to_tflite(small.graph, small.weights, small.qparams)
    assert hashlib.sha256(again).digest() == hashlib.sha256(small.file).digest()


def test_kernels_are_symmetric_per_channel_along_tflites_axes(small):
    tensors = {t.name: t for t in export.inspect(small.file).main.tensors}
    for name, shape, axis in (
        ("stem", (8, 3, 3, 3), 0), ("deep", (1, 3, 3, 8), 3), ("head", (5, 8), 0)
    ):  # fmt: skip
        kernel = tensors[name]
        assert (kernel.shape, kernel.axis) == (shape, axis)
        assert kernel.scale.size == shape[axis]
        assert not kernel.zero_point.any()


@pytest.mark.parametrize("outer", ["uint8", "float32"])
def test_other_types_at_the_ends_compute_the_same(small, outer):
    data = export.to_tflite(
        small.graph, small.weights, small.qparams, input_type=outer, output_type=outer
    )
    plain = export.Runner(small.file, kernels="reference")
    other = export.Runner(data, kernels="reference")
    if outer == "uint8":  # the camera's bytes, untouched
        images = np.round(small.images * 255).astype(np.uint8)
        wanted = plain(small.images)["output"].astype(np.int16) + 128
    else:
        images = small.images
        wanted = plain(small.images, dequantize=True)["output"]
    np.testing.assert_array_equal(other(images)["output"], wanted)


def test_a_float_file_computes_the_graph(small):
    data = export.to_tflite(small.graph, small.weights)
    found = export.run(data, small.images)["output"]
    wanted = np.asarray(small.graph(small.weights, small.images))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)  # sums in another order


def test_unfit_types_are_refused(small):
    with pytest.raises(ValueError, match="input_type 'int64' is none of"):
        export.to_tflite(small.graph, small.weights, small.qparams, input_type="int64")
    with pytest.raises(ValueError, match=r"output_type 'int16' does not fit .*, which has 8 bits"):
        export.to_tflite(small.graph, small.weights, small.qparams, output_type="int16")
    with pytest.raises(ValueError, match="output_type 'int8' in a float32 file"):
        export.to_tflite(small.graph, small.weights, output_type="int8")
    with pytest.raises(ValueError, match="'head' is missing"):
        export.to_tflite(small.graph, {k: v for k, v in small.weights.items() if k != "head"})


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old and longer")
    assert export.write(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    with pytest.raises(OSError, match=r"cannot write 3 bytes to .*missing"):
        export.write(tmp_path / "missing" / "model.tflite", b"new")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export.write(tmp_path / "model.tflite", b"new")
    assert os.listdir(tmp_path) == []


def test_names_can_be_left_out(small):
    bare = export.to_tflite(small.graph, small.weights, small.qparams, names=False)
    assert len(bare) < len(small.file)
    info = export.inspect(bare)
    assert {tensor.name for tensor in info.main.tensors} == {""}
    assert list(info.inputs) == list(small.graph.inputs)
    for kernels in ("reference", "micro"):
        found = export.run(bare, small.images, kernels=kernels)["output"]
        np.testing.assert_array_equal(
            found, export.run(small.file, small.images, kernels=kernels)["output"]
        )
    with pytest.raises(ValueError, match="has no names of tensors"):
        export.verify(bare, small.graph, small.weights, small.qparams, small.images)


def test_files_for_tflite_micro_have_no_scales_of_biases(small):
    file = export.to_tflite(small.graph, small.weights, small.qparams, target="micro")
    info, whole = export.inspect(file), export.inspect(small.file)
    biases = [t for t in info.main.tensors if t.dtype == "int32" and t.name.endswith("bias")]
    assert len(biases) == 3  # the dense layer has none of its own, and gets zeros
    assert not any(t.scale.size for t in biases)
    assert info.parameters == whole.parameters
    for kernels in ("reference", "micro"):  # XNNPACK leaves dense layers without them to LiteRT
        found = export.run(file, small.images, kernels=kernels)["output"]
        np.testing.assert_array_equal(
            found, export.run(small.file, small.images, kernels=kernels)["output"]
        )


@pytest.mark.slow
def test_branches_are_in_the_order_of_the_smallest_arena_of_tflite_micro(tmp_path):
    network = branching()
    found, values = {}, {}
    for target in ("android", "micro"):
        file = export.to_tflite(network.graph, network.weights, network.qparams, target=target)
        path = tmp_path / f"{target}.tflite"
        path.write_bytes(file)
        found[target] = arena(path).activations
        (values[target],) = export.run(file, network.images, kernels="micro").values()
        assert found[target] - planned_size(file) in range(64)
        report = export.verify(
            file, network.graph, network.weights, network.qparams, network.images, kernels="micro"
        )
        assert report.exact, report
    # One wide map and what is made of it, instead of three.
    assert found["micro"] < 0.6 * found["android"]
    np.testing.assert_array_equal(values["micro"], values["android"])


def test_a_bare_file_has_what_tflite_micro_needs(small):
    options = {"target": "micro", "names": False}
    plain, bare = (
        export.to_tflite(small.graph, small.weights, small.qparams, bare=bare, **options)
        for bare in (False, True)
    )
    assert len(bare) <= len(plain) - 80  # of zero points for 8 and for 5 channels, int64
    info = export.inspect(bare)
    kernels = [t for t in info.main.tensors if t.constant and t.dtype == "int8"]
    assert [t.zero_point.tolist() for t in kernels] == [[0]] * 3
    assert [t.scale.size for t in kernels] == [8, 8, 5]
    found, want = (export.run(f, small.images, kernels="micro")["output"] for f in (bare, plain))
    np.testing.assert_array_equal(found, want)
    assert np.ptp(want.astype(int)) > 0


def test_a_bare_file_is_for_tflite_micro(small):
    with pytest.raises(
        ValueError, match=r"bare=True in a file for 'android'.*choose target 'micro'"
    ):
        export.to_tflite(small.graph, small.weights, small.qparams, bare=True)


@pytest.mark.slow
def test_rnnpool_vww_is_within_330_kib():
    model = zoo.create("rnnpool_vww")
    images = jax.nn.sigmoid(normal(1, 224, 224, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    statistics = variables_of(model, images)[
        "batch_stats"
    ]  # others than 0 and 1: biases of their own
    graph, weights = quant.trace(model.apply, {**variables, "batch_stats": statistics}, images)
    qparams = quant.calibrate(graph, weights, [images])
    file = export.to_tflite(graph, weights, qparams, target="micro", bare=True)
    assert len(file) <= 330 * 1024, len(file)
