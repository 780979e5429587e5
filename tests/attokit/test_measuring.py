import numpy as np
import pytest

from attokit.measuring import measure
from attokit.predictor import Predictor
from attokit.train import classification_task


def _perfect(images):
    return np.eye(3, dtype=np.float32)[np.clip((images.mean((1, 2, 3)) // 80).astype(int), 0, 2)]


@pytest.mark.parametrize("batch_size", [10, 250])
def test_counts_every_example_once(dataset, batch_size):
    predictor = Predictor(
        name="perfect", task="classification", image_shape=(8, 8, 1), num_classes=3,
        class_names=None, data=None, outputs=lambda images: {"logits": _perfect(images)},
    )  # fmt: skip
    source, task = dataset.split("test"), classification_task()
    metrics = measure(
        predictor, source, task.eval_metrics, check=task.check, batch_size=batch_size,
        prepare=lambda outputs, batch: outputs["logits"],
    )  # fmt: skip
    assert metrics["accuracy"] == 1.0
    assert metrics["confusion"].sum() == len(source) == 37
