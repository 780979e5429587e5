import jax
import numpy as np
import pytest
from PIL import Image

from attokit import export, quant
from attokit.export.brightness import as_colours, makes_brightness

_COLOURS = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
_PALETTE = np.asarray(
    [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 0, 255]]
)


def _doubling(shape=(1, 16, 16, 1)):
    """Graph, weights and qparams of what doubles images."""
    weights = {"two": np.full((1, 1, 1, 1), 2, np.float32)}
    graph, weights = quant.trace(lambda w, x: x * w["two"], weights, np.zeros(shape, np.float32))
    qparams = quant.calibrate(graph, weights, [np.ones(shape, np.float32)])
    return graph, weights, qparams


@pytest.fixture(scope="module")
def grey():
    return _doubling()


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("input_type", ["uint8", "int8"])
def test_brightness_is_pillows(grey, kernels, input_type):
    graph, weights, qparams = grey
    target = "micro" if kernels == "micro" else "android"
    file = export.to_tflite(
        graph, weights, qparams, input_type=input_type, colours=True, target=target
    )
    assert makes_brightness(export.inspect(file))
    images = _COLOURS.copy()
    images[0, : len(_PALETTE), 0] = _PALETTE
    given = images if input_type == "uint8" else (images.astype(np.int16) - 128).astype(np.int8)
    found = export.run(file, given, kernels=kernels, dequantize=True)["output"][0, ..., 0]
    wanted = 2 * np.asarray(Image.fromarray(images[0]).convert("L")).astype(np.float32) / 255
    np.testing.assert_allclose(found, wanted, atol=2.01 / 255)  # a level, doubled
    plain = export.to_tflite(graph, weights, qparams, input_type=input_type, target=target)
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    given = levels if input_type == "uint8" else (levels.astype(np.int16) - 128).astype(np.int8)
    np.testing.assert_array_equal(
        export.run(file, as_colours(given), kernels=kernels)["output"],
        export.run(plain, given, kernels=kernels)["output"],
    )


def test_every_tensor_is_still_the_graphs(grey):
    graph, weights, qparams = grey
    images = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16, 1)
    for kernels in ("reference", "xnnpack"):
        file = export.to_tflite(graph, weights, qparams, input_type="uint8", colours=True)
        report = export.verify(file, graph, weights, qparams, images, kernels=kernels)
        assert report.exact and "mul" in {row.kind for row in report.rows}
    file = export.to_tflite(graph, weights, colours=True)
    assert makes_brightness(export.inspect(file))
    assert export.verify(file, graph, weights, None, images).ok


def test_other_files_make_none(grey, small):
    graph, weights, qparams = grey
    assert not makes_brightness(export.inspect(export.to_tflite(graph, weights, qparams)))
    assert not makes_brightness(export.inspect(small.file))


def test_what_is_no_grey_image():
    graph, weights, qparams = _doubling((1, 16, 16, 3))
    with pytest.raises(ValueError, match=r"is \[1, 16, 16, 3\]: colours are made to one channel"):
        export.to_tflite(graph, weights, qparams, colours=True)
    wide, weights, _ = _doubling()
    wide = quant.widen(wide)
    qparams = quant.calibrate(wide, weights, [np.ones((1, 16, 16, 1), np.float32)])
    with pytest.raises(ValueError, match="is int16: colours are taken as int8 or float32"):
        export.to_tflite(wide, weights, qparams, colours=True)


def test_a_network_may_weigh_its_own_colours():
    shares = {"kernel": np.asarray([0.299, 0.587, 0.114], np.float32).reshape(1, 1, 3, 1)}
    images = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 4, 4, 3)

    def network(v, x):
        return jax.lax.conv_general_dilated(
            x, v["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    graph, weights = quant.trace(network, shares, images)
    qparams = quant.calibrate(graph, weights, [images])
    file = export.to_tflite(graph, weights, qparams)
    assert export.verify(file, graph, weights, qparams, images).exact


def test_two_grey_images():
    x = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    graph, weights = quant.trace(lambda _, x, y: x + y, {}, x, x)
    qparams = quant.calibrate(graph, weights, [(x, x)])
    file = export.to_tflite(graph, weights, qparams, colours=True)
    assert export.verify(file, graph, weights, qparams, x, x[:, ::-1]).exact
