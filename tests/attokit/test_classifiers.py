import hashlib

import jax
import numpy as np
import pytest

from attokit import checkpoints
from attokit.classifiers import (
    Classifier,
    evaluate_classifier,
    file_classifier,
    latency_ms,
    open_classifier,
)
from attokit.export import to_tflite
from attokit.quant import calibrate, trace


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


def test_targets_that_are_nothing(finished):
    with pytest.raises(ValueError, match=r"is no run folder, no \.tflite file"):
        open_classifier("nothing")
    with pytest.raises(ValueError, match="only a run has a quantized graph"):
        open_classifier(str(finished[0] / "model.tflite"), quantized=True)


def test_latency(finished):
    assert 0 < latency_ms(finished[0] / "model.tflite", runs=2) < 1e4
