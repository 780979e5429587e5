import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.forward import flax_forward, split_variables
from attokit.train.loader import TrainBatches
from attokit.train.mesh import make_mesh, put_batch, state_shardings
from attokit.train.metrics import compute_metrics
from attokit.train.optimizer import make_optimizer
from attokit.train.state import init_state, place_state
from attokit.train.step import compile_train_step, make_eval_step, make_train_step
from attokit.train.task import classification_task
from attokit.zoo.conv_norm import ConvNorm

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


@pytest.mark.parametrize("shape", [pytest.param((8, 1), marks=pytest.mark.slow), (2, 4)])
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


class _Norms(nn.Module):
    """Batch norms of which a device that looked at its own rows alone would make others."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = ConvNorm(16, 3, strides=2)(x, train=train)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x).reshape(x.shape[0], -1)
        return nn.Dense(3)(nn.relu(nn.Dense(64)(x)))


def _curve(dataset, mesh, steps):
    """Returns the loss of each step and the state after the last."""
    model, optimizer = _Norms(), make_optimizer("sgd", 0.02, clip_norm=1.0)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    state, shardings = place_state(*split_variables(variables), optimizer, mesh, seed=0)
    pure = make_train_step(flax_forward(model), TASK, optimizer)
    step = compile_train_step(pure, mesh, shardings)
    batches = TrainBatches(dataset.split("train"), batch_size=16, steps=steps, seed=0)
    losses = []
    for index in range(steps):
        state, metrics = step(state, put_batch(batches[index], mesh))
        losses.append(compute_metrics(metrics)["loss"])
    return losses, state


@pytest.mark.slow
def test_loss_curves_agree_on_every_mesh(dataset):
    """Batch norm among the layers: it is that of the whole batch, whatever holds which rows."""
    one, one_state = _curve(dataset, make_mesh(1), 50)
    assert one[-1] < 0.8 * one[0]
    for mesh in ((2, 1), (1, 4), (2, 4)):
        many, state = _curve(dataset, make_mesh(*mesh), 50)
        # Sums over the batch are taken in another order, which 50 steps amplify.
        np.testing.assert_allclose(many, one, rtol=1e-3, err_msg=f"{mesh}")
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3),
            state.model_state,
            one_state.model_state,
        )


def test_memory_of_the_state_falls_with_fsdp():
    model, optimizer = nn.Dense(2048), make_optimizer("adamw", 1e-3)

    def forward(params, model_state, inputs, *, train, key):
        return model.apply({"params": params}, inputs.reshape(inputs.shape[0], -1)), model_state

    batch = {
        "images": jax.ShapeDtypeStruct((8, 16, 16, 1), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((8,), jnp.int32),
    }
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 256)))["params"]
    state = jax.eval_shape(lambda params: init_state(params, {}, optimizer, seed=0), params)
    pure, sizes = make_train_step(forward, TASK, optimizer), []
    for ways in (1, 8):
        mesh = make_mesh(1, ways)
        program = compile_train_step(pure, mesh, state_shardings(mesh, state)).program
        memory = program.lower(state, batch, ()).compile().memory_analysis()
        sizes.append(memory.argument_size_in_bytes)
    assert sizes[0] > 3 * 4 * 2048 * 257  # parameters and the two moments of AdamW
    assert sizes[1] < 1.01 * sizes[0] / 8
