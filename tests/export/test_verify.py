import dataclasses
import functools
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import export, quant, zoo
from attokit.zoo.attendseg import Stage

KERNELS = ["reference", "micro", "xnnpack"]


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_file_is_its_graph_tensor_by_tensor(small, kernels):
    report = export.verify(
        small.file, small.graph, small.weights, small.qparams, small.images, kernels=kernels
    )
    assert report.ok, report
    assert report.exact or kernels == "xnnpack"
    assert report.first_difference is None
    assert "ok" in str(report)


def test_an_entry_of_a_table_on_a_tie():
    scale, zero_point = np.float32(0.0173601), np.float32(-33)
    x = scale * (np.arange(-128, 128, dtype=np.float32) - zero_point)[None]
    assert (np.tanh(x, dtype=np.float64).astype(np.float32) * 128 == 88.5).any()
    graph, weights = quant.trace(lambda _, x: jnp.tanh(x), (), x)
    qparams = {"input": quant.QuantParams(jnp.asarray(scale), jnp.asarray(zero_point))}
    file = export.to_tflite(graph, weights, qparams)
    assert export.verify(file, graph, weights, qparams, x).exact
    report = export.verify(file, graph, weights, qparams, x, kernels="xnnpack")
    assert report.ok and sum(row.differing for row in report.rows) <= 2


def test_the_first_tensor_that_differs_is_named(small):
    weights = {**small.weights, "deep": small.weights["deep"] * jnp.float32(1.5)}
    report = export.verify(small.file, small.graph, weights, small.qparams, small.images)
    assert not report.ok
    assert report.first_difference.kind == "depthwise_conv_2d"
    assert report.first_difference.tensor in report.summary
    assert "<-" in str(report)


@pytest.mark.parametrize("kernels", KERNELS)
def test_float_files_are_compared_with_the_float_graph(small, kernels):
    data = export.to_tflite(small.graph, small.weights)
    report = export.verify(data, small.graph, small.weights, None, small.images, kernels=kernels)
    assert report.ok, report
    assert not report.quantized


def test_infinities_of_a_float_file_are_equal_and_widen_no_tolerance():
    def function(_, x):
        return jnp.where(x < 0.5, -jnp.inf, x), jnp.where(x < 0.5, x, 1e9)

    x = jnp.linspace(0, 0.9, 8).reshape(1, 8)
    graph, weights = quant.trace(function, (), x)
    report = export.verify(export.to_tflite(graph, weights), graph, weights, None, x)
    assert report.exact
    assert max(row.allowed for row in report.rows) < 1e-3


def test_float_output_is_compared_as_it_leaves(small):
    data = export.to_tflite(small.graph, small.weights, small.qparams, output_type="float32")
    report = export.verify(data, small.graph, small.weights, small.qparams, small.images)
    assert report.exact, report
    assert report.rows[-1].kind == "output"


def test_class_ids_with_one_for_none_leave_as_int32():
    def function(_, ids):
        return jnp.where(ids < 5, ids, 255)

    ids = jnp.arange(8).reshape(1, 8)
    graph, weights = quant.trace(function, (), ids)
    file = export.to_tflite(graph, weights, {})
    assert export.inspect(file).outputs["output"].dtype == "int32"
    assert export.verify(file, graph, weights, {}, ids).exact
    with pytest.raises(
        ValueError, match=r"SELECT_V2 \('select'\).*not of int32; compute it of floats"
    ):
        export.to_tflite(graph, weights, {}, target="micro")


def test_a_file_of_another_graph_is_refused(small):
    renamed = small.graph.map_ops(
        lambda op: op if op.kind != "add" else dataclasses.replace(op, outputs=("other",))
    )
    with pytest.raises(ValueError, match="no tensor 'other'"):
        export.verify(small.file, renamed, small.weights, small.qparams, small.images)
    with pytest.raises(ValueError, match="no kernel set"):
        export.verify(
            small.file, small.graph, small.weights, small.qparams, small.images, kernels="none"
        )


@functools.cache
def _written(name: str, size: int, options: tuple[tuple[str, object], ...]):
    model = zoo.create(name, **dict(options))
    images = jnp.asarray(np.random.default_rng(0).random((2, size, size, 3)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    graph, weights = quant.trace(model.apply, variables, images[:1])
    qparams = quant.calibrate(graph, weights, [images])
    return graph, weights, qparams, images, export.to_tflite(graph, weights, qparams)


def _check(name: str, size: int, options: dict, kernels: str) -> None:
    graph, weights, qparams, images, data = _written(name, size, tuple(options.items()))
    report = export.verify(data, graph, weights, qparams, images, kernels=kernels)
    assert report.ok, report
    assert report.exact or kernels == "xnnpack", report


@pytest.mark.slow  # the README's example shows the same in every run
def test_attonet_d_is_bit_exact():
    options = {"num_classes": 10, "small_images": True}
    _check("attonet_d", 28, options, "reference")
    graph, weights, _, _, data = _written("attonet_d", 28, tuple(options.items()))
    assert len(data) <= 1.25 * sum(w.size for w in weights.values())
    assert export.inspect(data).macs == graph.macs()


@pytest.mark.slow
def test_a_mobilenet_is_bit_exact_in_micro():
    _check("mobilenet_v2_035", 32, {"num_classes": 10}, "micro")


@pytest.mark.slow
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", zoo.names(task="classification"))
def test_every_classifier_is_bit_exact(name, kernels):
    options = {"small_images": True} if name.startswith("attonet") else {}
    _check(name, 32, {"num_classes": 10, **options}, kernels)


def _kinds(name: str, size: int, options: dict) -> list[tuple[str, str]]:
    """What computes each tensor of the file, and the tensor's type."""
    *_, data = _written(name, size, tuple(options.items()))
    (subgraph,) = export.inspect(data).subgraphs
    return [
        (operator.kind, subgraph.tensors[i].dtype)
        for operator in subgraph.operators
        for i in operator.outputs
    ]


@pytest.mark.slow
def test_a_segmenter_is_bit_exact_and_int8_up_to_its_class_ids():
    options = {
        "output": "argmax",
        "num_classes": 5,
        "stages": tuple(Stage(width=w, bottleneck=8, condensed=8, depth=1) for w in (8, 16)),
        "refinement": (8,),
    }
    _check("attendseg", 32, options, "reference")
    *rest, last = _kinds("attendseg", 32, options)
    assert {dtype for _, dtype in rest} == {"int8"}
    assert last == ("ARG_MAX", "int32")


@pytest.mark.slow
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", zoo.names(task="segmentation"))
def test_every_segmenter_is_bit_exact(name, kernels):
    _check(name, 64, {}, kernels)
    assert {dtype for _, dtype in _kinds(name, 64, {})} == {"int8"}


@pytest.mark.slow
def test_attendseg_takes_less_than_its_share_of_flash():
    *_, data = _written("attendseg", 64, ())
    assert len(data) <= 1_400_000


@pytest.mark.slow
def test_mobilenet_v2_is_smaller_than_the_converters_file():
    *_, data = _written("mobilenet_v2", 224, ())
    assert len(data) <= 3_963_520


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("attonet_d", 28, {"num_classes": 10, "small_images": True}),
        ("mobilenet_v2_035", 96, {"num_classes": 10}),
    ],
)
def test_vela_maps_every_operator_to_the_npu(tmp_path, name, size, options):
    vela = pathlib.Path(sys.executable).with_name("vela")
    if not vela.exists():
        pytest.skip("Vela is not installed: pip install 'attokit[ethos-u]'")
    *_, data = _written(name, size, tuple(options.items()))
    path = export.write(tmp_path / "model.tflite", data)
    command = [vela, path, "--accelerator-config", "ethos-u55-128", "--output-dir", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    compiled = export.inspect(tmp_path / "model_vela.tflite")
    assert compiled.histogram == {"ethos-u": 1}
