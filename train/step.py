"""One training step and one evaluation step, as pure functions and compiled for a mesh."""

from collections.abc import Callable, Mapping

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from attokit.train.ema import update_ema
from attokit.train.forward import Forward
from attokit.train.mesh import batch_sharding, replicated
from attokit.train.metrics import FirstNonFinite, Mean, Metrics
from attokit.train.state import TrainState
from attokit.train.task import Task

TrainStep = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, Metrics]]
EvalStep = Callable[[PyTree, PyTree, Mapping[str, Array]], Metrics]


def make_train_step(
    forward: Forward,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
) -> TrainStep:
    """Returns a pure function (state, batch) -> (state, metrics).

    Beside the task's own metrics it gives `loss`, `gradient_norm` and `first_bad_step`, the step
    (from 1) whose loss or gradient was not finite.
    """

    def train_step(state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

        def mean_loss(params: PyTree) -> tuple[Array, tuple]:
            inputs = (task.train_inputs or task.inputs)(batch)
            outputs, model_state = forward(params, state.model_state, inputs, train=True, key=key)
            losses = task.losses(outputs, batch)
            return losses.mean(), (outputs, losses, model_state)

        gradient_of = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, (outputs, losses, model_state)), gradients = gradient_of(state.params)
        # Optax mixes integer counts with floats; our own code does not lean on promotion.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1
        ema = state.ema
        if ema is not None and ema_decay is not None:
            ema = update_ema(ema, (params, model_state), ema_decay, state.step)
        gradient_norm = optax.tree.norm(gradients)
        metrics = task.train_metrics(outputs, batch, losses) | {
            "loss": Mean.of(losses),
            "gradient_norm": Mean.of(gradient_norm[None]),
            "first_bad_step": FirstNonFinite.of(loss + gradient_norm, step),
        }
        new_state = TrainState(
            step=step,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema=ema,
            key=state.key,
        )
        return new_state, metrics

    return train_step


def compile_train_step(train_step: TrainStep, mesh: Mesh, shardings: PyTree) -> TrainStep:
    """Returns the step jitted for a mesh; it consumes (donates) the state that it is given."""
    return jax.jit(
        train_step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def make_eval_step(forward: Forward, task: Task) -> EvalStep:
    """Returns a pure function (params, model_state, batch) -> metrics; the batch has `mask`."""

    def eval_step(params: PyTree, model_state: PyTree, batch: Mapping[str, Array]) -> Metrics:
        key = jax.random.key(0)  # inference draws nothing; the signature wants one
        outputs, _ = forward(params, model_state, task.inputs(batch), train=False, key=key)
        return task.eval_metrics(outputs, batch)

    return eval_step
