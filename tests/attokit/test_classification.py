import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from attokit.classification import check_outputs, evaluate, predict
from attokit.predictor import Predictor
from attokit.train import ArraySource, Dataset


def test_labels_without_a_logit(dataset):
    two = Predictor(
        name="two", task="classification", image_shape=(8, 8, 1), num_classes=2, class_names=None,
        data=None, outputs=lambda images: np.zeros((len(images), 2), np.float32),
    )  # fmt: skip
    with pytest.raises(ValueError, match="two has 2 classes, the data has label 2"):
        evaluate(two, dataset, dataset.split("test"))


def test_labels_that_are_no_class():
    constant = Predictor(
        name="two", task="classification", image_shape=(8, 8, 1), num_classes=2, class_names=None,
        data=None, outputs=lambda images: np.zeros((len(images), 2), np.float32),
    )  # fmt: skip
    source = ArraySource(images=np.zeros((2, 8, 8, 1), np.uint8), labels=np.int32([1, -1]))
    data = Dataset(name="d", class_names=("a", "b"), image_shape=(8, 8, 1), splits={"test": source})
    with pytest.raises(ValueError, match="the data have a label -1"):
        evaluate(constant, data, source)


def test_outputs_are_a_logit_per_class(dataset):
    check_outputs("tiny", np.zeros((1, 3)), dataset)
    for wrong in (np.zeros((1, 4)), np.zeros((1, 8, 8, 3)), {"a": np.zeros(3)}):
        with pytest.raises(ValueError, match="3 classes: set num_classes=3"):
            check_outputs("tiny", wrong, dataset)


def test_scores_of_their_own(dataset, tmp_path):
    logits = np.float32([[-1, 2, 3]])
    separate = Predictor(
        name="tags", task="classification", image_shape=(8, 8, 1), num_classes=3, class_names=None,
        data=None, outputs=lambda images: logits.repeat(len(images), 0), separate=True,
    )  # fmt: skip
    metrics = evaluate(separate, dataset, dataset.split("test"))
    assert "accuracy" in metrics and not {"loss", "calibration_error"} & metrics.keys()
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    console = Console(record=True)
    predict(separate, [image], console)
    told = console.export_text()
    assert "95.3 %" in told and "88.1 %" in told and "26.9 %" in told
