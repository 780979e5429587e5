import numpy as np
import pytest

from attokit.classification import evaluate
from attokit.targets import open_predictor


def test_run_and_file_agree(finished, dataset):
    images = dataset.split("test").read(np.arange(5))["images"]
    graph = open_predictor(str(finished[0]), quantized=True)
    file = open_predictor(str(finished[0] / "model.tflite"))
    assert graph.class_names == file.class_names == ("dark", "grey", "bright")
    assert graph.task == file.task == "classification"
    scale = np.abs(graph.outputs(images)).max() / 100
    np.testing.assert_allclose(file.outputs(images), graph.outputs(images), atol=scale)


def test_pretrained(finished, hub, dataset):
    names = ("dark", "grey", "bright")
    hub(finished[0], "tiny.here", names, data="fashion_mnist_subset")
    predictor = open_predictor("tiny.here")
    assert (predictor.task, predictor.num_classes) == ("classification", 3)
    assert predictor.class_names == ("dark", "grey", "bright")
    assert predictor.data == "fashion_mnist_subset"
    metrics = evaluate(predictor, dataset, dataset.split("test"))
    assert metrics["accuracy"] == pytest.approx(finished[1].float_accuracy)


def test_options_of_files(finished):
    with pytest.raises(ValueError, match="--input-range is for a"):
        open_predictor(str(finished[0]), input_range=(0, 1))
    with pytest.raises(ValueError, match="--task is for a"):
        open_predictor(str(finished[0]), task="classification")


def test_targets_that_are_nothing(finished):
    with pytest.raises(ValueError, match=r"is no run folder, no \.tflite file"):
        open_predictor("nothing")
    with pytest.raises(ValueError, match="only a run has a quantized graph"):
        open_predictor(str(finished[0] / "model.tflite"), quantized=True)


def test_weights_of_a_newer_zoo(finished, hub):
    index = hub(finished[0], "tiny.here", ("a", "b", "c")) / "index.json"
    index.write_text(index.read_text().replace('"overrides": {}', '"overrides": {"depth": 3}'))
    with pytest.raises(ValueError, match=r"overrides of tiny: .*no field 'depth'"):
        open_predictor("tiny.here")
