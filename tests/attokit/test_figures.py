import io

import numpy as np
import pytest
from PIL import Image

from attokit import figures


def _size(png):
    with Image.open(io.BytesIO(png)) as image:
        return image.size


def test_training_curves_are_reproducible():
    records = [
        {"step": 1, "split": "train", "loss": 2.0, "accuracy": 0.1},
        {"step": 2, "split": "test", "loss": 1.0, "accuracy": 0.5},
    ]
    first = figures.training_curves({"float": records, "QAT": records})
    assert first == figures.training_curves({"float": records, "QAT": records})
    assert _size(first)[0] > _size(first)[1]


def test_confusion_matrix_grows_with_the_classes():
    small = figures.confusion_matrix(np.eye(3), ["a", "b", "c"])
    large = figures.confusion_matrix(np.eye(12), list("abcdefghijkl"))
    assert _size(small)[0] < _size(large)[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_sample_predictions(channels):
    images = np.zeros((9, 4, 4, channels), np.uint8)
    png = figures.sample_predictions(images, np.zeros(9, int), np.eye(9), list("abcdefghi"))
    assert _size(png)[0] > 100


def test_layer_errors():
    assert _size(figures.layer_errors(["a", "b"], [0.1, 0.2]))[0] > 100


def test_softmax():
    shares = figures.softmax(np.array([[0.0, np.log(3.0)], [1e4, 0.0]]))
    np.testing.assert_allclose(shares, [[0.25, 0.75], [1, 0]], atol=1e-12)
