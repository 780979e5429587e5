import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.task import classification_task, unit_images


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
