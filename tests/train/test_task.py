import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.task import check_labels, classification_task, unit_images


def test_inputs_are_bytes_over_255():
    images = jnp.asarray([0, 51, 255], jnp.uint8).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(unit_images({"images": images}).ravel(), [0, 0.2, 1], rtol=1e-6)


def test_evaluation_reports_the_loss_without_smoothing():
    task = classification_task(label_smoothing=0.5)
    logits, labels = jnp.asarray([[4.0, 0.0]]), jnp.asarray([0], jnp.int32)
    batch = {"labels": labels, "mask": jnp.ones(1)}
    losses = task.losses(logits, batch)
    plain = task.eval_metrics(logits, batch)["loss"].compute()
    assert float(plain) == pytest.approx(np.log1p(np.exp(-4)), rel=1e-4)
    assert float(losses[0]) > float(plain)
    assert task.best_metric in task.eval_metrics(logits, batch)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.int32([0, -1]), "the data have a label -1: labels count the classes from 0 on"),
        (np.int64([3, 0]), "the data have a label 3, there are 3 classes: labels go from 0 to 2"),
        (np.float32([0, 1]), "labels are float32: give integers"),
        (np.array([True, False]), "labels are bool: give integers"),
    ],
)
def test_labels_that_are_no_class(labels, message):
    with pytest.raises(ValueError, match=message):
        classification_task(num_classes=3).check({"labels": labels})


def test_labels_that_are_classes():
    for labels in (np.int32([0, 2]), np.uint8([1, 2]), np.int64([])):
        check_labels({"labels": labels}, num_classes=3)
    check_labels({"labels": np.int32([1000])})  # nobody knows of how many
