import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import checkpoints
from attokit.classifiers import (
    Classifier,
    _covered_range,
    _feeder,
    evaluate_classifier,
    file_classifier,
    latency_ms,
    open_classifier,
)
from attokit.export import to_tflite
from attokit.export.anatomy import Subgraph, TensorInfo
from attokit.quant import calibrate, trace
from attokit.runs import open_run


def test_run_and_file_agree(finished, dataset):
    images = dataset.split("test").read(np.arange(5))["images"]
    graph = open_classifier(str(finished[0]), quantized=True)
    file = open_classifier(str(finished[0] / "model.tflite"))
    assert graph.class_names == file.class_names == ("dark", "grey", "bright")
    scale = np.abs(graph.logits(images)).max() / 100
    np.testing.assert_allclose(file.logits(images), graph.logits(images), atol=scale)


def test_counts_every_example_once(dataset):
    source = dataset.split("test")
    perfect = Classifier(
        name="perfect", image_shape=(8, 8, 1), class_names=None, data=None,
        logits=lambda images: np.eye(3, dtype=np.float32)[
            np.clip((images.mean((1, 2, 3)) // 80).astype(int), 0, 2)
        ],
    )  # fmt: skip
    metrics = evaluate_classifier(perfect, source, batch_size=10)
    assert metrics["accuracy"] == 1.0
    assert metrics["confusion"].sum() == len(source) == 37
    two = Classifier(
        name="two", image_shape=(8, 8, 1), class_names=None, data=None,
        logits=lambda images: np.zeros((len(images), 2), np.float32),
    )  # fmt: skip
    with pytest.raises(ValueError, match="two has 2 classes, the data has label 2"):
        evaluate_classifier(two, source)


def test_pretrained(finished, monkeypatch, dataset):
    file = finished[0] / "weights.safetensors"
    record = checkpoints.Weights(
        model="tiny", overrides={}, source=file.as_uri(),
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(), size=file.stat().st_size,
        preprocessing={"class_names": ("dark", "grey", "bright")}, metrics={}, recipe="none",
        commit="none", license="MIT",
    )  # fmt: skip
    table = {"tiny.here": record}
    monkeypatch.setattr(checkpoints, "names", lambda: tuple(table))
    monkeypatch.setattr(checkpoints, "info", lambda name: table[name])
    monkeypatch.setattr(checkpoints, "load", lambda name: checkpoints.load_weights(file))
    classifier = open_classifier("tiny.here")
    assert classifier.class_names == ("dark", "grey", "bright")
    metrics = evaluate_classifier(classifier, dataset.split("test"))
    assert metrics["accuracy"] == pytest.approx(finished[1].float_accuracy)


def test_files_that_are_no_classifier(tmp_path):
    shape = jax.ShapeDtypeStruct((1, 4, 4, 2), "float32")
    graph, weights = trace(lambda variables, x: jax.nn.relu(x), {}, shape)
    with pytest.raises(ValueError, match="not one batch of images"):
        file_classifier(to_tflite(graph, weights))
    shape = jax.ShapeDtypeStruct((1, 4, 4, 3), "float32")
    graph, weights = trace(lambda variables, x: jax.nn.relu(x), {}, shape)
    with pytest.raises(ValueError, match="not one row of logits"):
        file_classifier(to_tflite(graph, weights))


@pytest.mark.parametrize("output_type", ["int8", "float32", None])
def test_softmax_in_the_file_is_not_done_twice(output_type):
    example = jax.ShapeDtypeStruct((1, 4, 4, 3), "float32")
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    reals = images.astype(np.float32) / np.float32(255)
    graph, weights = trace(lambda _, x: jax.nn.softmax(8 * x.mean((1, 2))), {}, example)
    if output_type is None:
        file = to_tflite(graph, weights)
    else:
        qparams = calibrate(graph, weights, [reals])
        file = to_tflite(graph, weights, qparams, output_type=output_type)
    found = jax.nn.softmax(file_classifier(file).logits(images))
    np.testing.assert_allclose(found, graph(weights, reals), atol=0.03)


def _brightness(images):
    """Logits that say how bright images in [-1, 1] are."""
    mean = images.mean((1, 2))[:, :1]
    return jnp.concatenate([mean, -mean], axis=-1)


@pytest.fixture
def symmetric():
    """(images, their exact logits, graph, weights, qparams) of a model of images in [-1, 1]."""
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    reals = 2 * (images.astype(np.float32) / np.float32(255)) - 1
    example = jax.ShapeDtypeStruct((1, 4, 4, 3), "float32")
    graph, weights = trace(lambda _, x: _brightness(x), {}, example)
    qparams = calibrate(graph, weights, [reals], input_range=(-1.0, 1.0))
    return images, np.asarray(_brightness(reals)), graph, weights, qparams


@pytest.mark.parametrize("input_type", ["int8", "uint8", "float32"])
def test_quantized_input_says_its_range(symmetric, input_type):
    images, expected, graph, weights, qparams = symmetric
    file = to_tflite(graph, weights, qparams, input_type=input_type)
    classifier = file_classifier(file)
    assert classifier.note is None
    np.testing.assert_allclose(classifier.logits(images), expected, atol=2 / 255)


def test_float_input_is_assumed_or_told(symmetric):
    images, expected, graph, weights, _ = symmetric
    file = to_tflite(graph, weights)
    assumed = file_classifier(file)
    assert "assumed 0 to 1" in assumed.note
    np.testing.assert_allclose(
        assumed.logits(images), expected / 2 + np.float32([0.5, -0.5]), atol=1e-6
    )
    told = file_classifier(file, input_range=(-1, 1))
    assert told.note is None
    np.testing.assert_allclose(told.logits(images), expected, atol=1e-6)
    for bad in ((1, 0), (0, np.nan), (-np.inf, 0)):
        with pytest.raises(ValueError, match="give two finite numbers"):
            file_classifier(file, input_range=bad)


def test_bytes_that_are_not_quantized_are_bytes():
    empty = np.zeros(0, np.float32)
    tensor = TensorInfo(
        name="bytes", shape=(1, 4, 4, 3), dtype="uint8", size=48, constant=False, scale=empty,
        zero_point=empty, axis=0,
    )  # fmt: skip
    graph = Subgraph(name="", tensors=(tensor,), operators=(), inputs=(0,), outputs=(0,))
    assert _covered_range(graph) == (0, 255)
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    np.testing.assert_array_equal(_feeder(tensor, 0, 255)(images), images)


def test_a_run_knows_its_files(run_dir):
    graph, weights = open_run(run_dir).trace()
    (run_dir / "float.tflite").write_bytes(to_tflite(graph, weights))
    inside = open_classifier(str(run_dir / "float.tflite"))
    assert (inside.data, inside.note) == ("fashion_mnist_subset", None)
    (run_dir / "config.json").write_text("{}")  # of something else
    outside = open_classifier(str(run_dir / "float.tflite"))
    assert outside.data is None
    assert "assumed 0 to 1" in outside.note


def test_options_of_files(finished):
    with pytest.raises(ValueError, match="--input-range is for a"):
        open_classifier(str(finished[0]), input_range=(0, 1))


def test_targets_that_are_nothing(finished):
    with pytest.raises(ValueError, match=r"is no run folder, no \.tflite file"):
        open_classifier("nothing")
    with pytest.raises(ValueError, match="only a run has a quantized graph"):
        open_classifier(str(finished[0] / "model.tflite"), quantized=True)


def test_latency(finished):
    assert 0 < latency_ms(finished[0] / "model.tflite", runs=2) < 1e4
