import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from row_networks import Network, calibrated
from traced import normal, variables_of

from attokit import export, quant, zoo
from attokit.arena import arena
from attokit.export.memory_plan import peak_of, stored_plan
from attokit.zoo.conv_norm import ConvNorm


@pytest.fixture(scope="module")
def network() -> Network:
    """A strided convolution of the image minus its mean, RNNPool, another convolution."""
    layer = nn.Sequential(
        [
            ConvNorm(2, 3, strides=2, padding=((1, 1), (1, 1))),
            zoo.RNNPool((2, 3), 4, stride=2, replicate_pad=True),
            ConvNorm(4, 3),
        ]
    )
    images = normal(1, 16, 14, 1)
    variables = variables_of(layer, images)
    return calibrated(
        lambda v, x: {"y": layer.apply(v, 255 * x - 117.0).mean((1, 2))}, variables, images.shape
    )


def _files(network, **options):
    return export.to_streamed_tflite(network.graph, network.weights, network.qparams, **options)


@pytest.fixture(scope="module")
def by_rows(network) -> dict[int, export.Streamed]:
    """Files whose strips make one row, or two."""
    return {rows: _files(network, rows=rows) for rows in (1, 2)}


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("rows", [1, 2])
def test_two_files_do_what_one_does(network, by_rows, kernels, rows):
    want = network.outputs(kernels=kernels)
    found = export.run_streamed(by_rows[rows], network.images, kernels=kernels)["y"]
    np.testing.assert_array_equal(found, want)
    assert len(np.unique(want)) > 2


def test_bytes_of_a_camera(network, by_rows):
    files = _files(network, input_type="uint8")
    pixels = np.round(network.images * 255).astype(np.uint8)
    np.testing.assert_array_equal(export.run_streamed(files, pixels)["y"], network.outputs())
    assert files.padding.tolist() == [117]
    assert by_rows[1].padding.tolist() == [117 - 128]


def test_the_plan_is_json(by_rows):
    files = by_rows[2]
    plan = json.loads(files.schedule)
    assert plan["calls"] == [[-1, 0], [3, 1]]
    assert plan["strip_rows"] == export.inspect(files.strip).inputs["input"].shape[1] == 13
    assert plan["map_shape"] == list(export.inspect(files.rest).main.tensors[0].shape)
    assert plan["padding_type"] == plan["map_type"] == "int8"


def test_strips_need_less_memory(network, by_rows):
    whole = export.to_tflite(network.graph, network.weights, network.qparams)
    assert export.inspect(by_rows[1].strip).peak_ram < export.inspect(whole).peak_ram


@pytest.mark.parametrize("rows", [1, 2])
def test_both_may_share_an_arena(by_rows, rows, tmp_path):
    files = by_rows[rows]
    infos = [export.inspect(file) for file in (files.strip, files.rest)]
    strip, rest = map(stored_plan, infos)
    (entry,) = infos[1].main.inputs
    (held,) = [block for block in rest if block.index == entry]
    assert held.offset >= peak_of(strip)  # calls of the first leave the map as it is
    assert files.activations == max(map(peak_of, (strip, rest)))
    paths = [tmp_path / "strip.tflite", tmp_path / "rest.tflite"]
    export.write(paths[0], files.strip)
    export.write(paths[1], files.rest)
    for path, plan in zip(paths, (strip, rest), strict=True):
        measured = arena(path)
        assert measured is None or measured.activations == peak_of(plan)


@pytest.mark.slow
def test_rnnpool_face_m4_is_within_256_kib(tmp_path):
    model = zoo.create("rnnpool_face_m4", image_size=(240, 320, 1))
    variables = jax.jit(model.init)(jax.random.key(0), normal(1, 240, 320, 1))
    files = _files(calibrated(model.apply, variables, (1, 240, 320, 1)))
    for part in ("strip", "rest"):
        export.write(tmp_path / part, getattr(files, part))
    found = [arena(tmp_path / part) for part in ("strip", "rest")]
    if None in found:
        pytest.skip("TFLite Micro's interpreter is not installed")
    assert max(one.activations for one in found) == files.activations
    assert files.activations + sum(one.records for one in found) <= 256 * 1024


def _of_a_convolution() -> Network:
    def function(v, x):
        y = zoo.conv(255 * x - 117.0, v["a"], strides=2, padding="SAME")
        return {"y": jnp.tanh(y).mean((1, 2))}

    return calibrated(function, {"a": normal(3, 3, 1, 2)}, (1, 9, 6, 1))


def _in_other_types(network, change) -> Network:
    graph = change(network.graph)
    qparams = quant.calibrate(graph, network.weights, [network.images])
    return dataclasses.replace(network, graph=graph, qparams=qparams)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda graph: quant.keep_float(graph, ["conv_2d", "tanh", "mean"]), "float32"),
        (lambda graph: quant.widen(graph, ["conv_2d", "tanh", "mean"]), "int16"),
    ],
)
def test_the_map_may_have_another_type(change, wanted):
    own = _in_other_types(_of_a_convolution(), change)
    files = _files(own, at="tanh")
    assert json.loads(files.schedule)["map_type"] == wanted
    assert export.inspect(files.rest).inputs["tanh"].dtype == wanted
    want = own.outputs(kernels="reference")
    found = export.run_streamed(files, own.images, kernels="reference")["y"]
    np.testing.assert_array_equal(found, want)
    assert len(np.unique(want)) > 1


@pytest.mark.parametrize(
    "change",
    [lambda graph: quant.widen(graph), lambda graph: quant.keep_float(graph, ["input"])],
)
def test_refuses_images_that_are_no_bytes(network, change):
    other = dataclasses.replace(network, graph=change(network.graph))
    with pytest.raises(ValueError, match=r"'input' is \w+ in the graph, but strips are bytes"):
        _files(other)


def test_refuses_floats(network):
    with pytest.raises(ValueError, match="input_type 'float32'"):
        _files(network, input_type="float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("rnnpool_vww", (96, 96, 3)), ("rnnpool_face_m4", (64, 96, 1))]
)
def test_networks_of_the_zoo(name, size):
    model = zoo.create(name, image_size=size)
    variables = jax.jit(model.init)(jax.random.key(0), normal(1, *size))
    large = calibrated(model.apply, variables, (1, *size))
    one = export.to_tflite(large.graph, large.weights, large.qparams, target="micro")
    files = _files(large)
    for kernels in ("reference", "micro", "xnnpack"):
        want = export.run(one, large.images, kernels=kernels)
        found = export.run_streamed(files, large.images, kernels=kernels)
        assert all(np.array_equal(found[key], want[key]) for key in want)
        assert all(np.ptp(values.astype(np.int16)) > 0 for values in want.values())
