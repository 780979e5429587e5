import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.mesh import make_mesh, put_batch
from attokit.train.metrics import compute_metrics
from attokit.train.optimizer import make_optimizer
from attokit.train.state import place_state
from attokit.train.step import compile_train_step, make_eval_step, make_train_step
from attokit.train.task import classification_task

TASK = classification_task(label_smoothing=0.1)


def _train(forward, network, dataset, mesh, steps=4):
    optimizer = make_optimizer("sgd", 0.1, weight_decay=1e-3, clip_norm=1.0)
    state, shardings = place_state(*network, optimizer, mesh, seed=0, ema=True)
    pure_step = make_train_step(forward, TASK, optimizer, ema_decay=0.9)
    step = compile_train_step(pure_step, mesh, shardings)
    metrics = None
    for index in range(steps):
        batch = dataset.split("train").read(np.arange(16) + 16 * index)
        state, metrics = step(state, put_batch(batch, mesh))
    return state, compute_metrics(metrics)


def test_step_keeps_every_shape_and_counts(forward, network, dataset):
    optimizer = make_optimizer("adamw", 0.1)
    state, _ = place_state(*network, optimizer, make_mesh(1), seed=0)
    batch = dataset.split("train").read(np.arange(8))
    step = make_train_step(forward, TASK, optimizer)
    new_state, _ = jax.eval_shape(step, state, batch)
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, new_state)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("shape", [(8, 1), (2, 4)])
def test_eight_devices_equal_one(forward, network, dataset, shape):
    one, one_metrics = _train(forward, network, dataset, make_mesh(1))
    many, many_metrics = _train(forward, network, dataset, make_mesh(*shape))
    assert int(many.step) == 4
    # Sums over the batch are taken in another order: a few float32 rounding steps.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one.ema, many.ema
    )
    assert many_metrics == pytest.approx(one_metrics, rel=1e-4)


def test_a_bad_loss_is_marked_with_its_step(network, dataset):
    def forward(params, model_state, inputs, *, train, key):
        logits = inputs.reshape(inputs.shape[0], -1)[:, :3] @ jnp.full((3, 3), jnp.nan)
        return logits + params["head"]["bias"][None], model_state

    _, metrics = _train(forward, network, dataset, make_mesh(1), steps=2)
    assert metrics["first_bad_step"] == 2


def test_eval_step_ignores_filling(forward, network, dataset):
    batch = dataset.split("test").read(np.arange(8))
    mask = np.array([1] * 5 + [0] * 3, np.float32)
    step = jax.jit(make_eval_step(forward, TASK))
    masked = compute_metrics(step(*network, batch | {"mask": mask}))
    first = {name: values[:5] for name, values in batch.items()}
    alone = compute_metrics(step(*network, first | {"mask": mask[:5]}))
    assert masked["loss"] == pytest.approx(alone["loss"])
    np.testing.assert_array_equal(masked["confusion"], alone["confusion"])
