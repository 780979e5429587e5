"""One training step and one evaluation step, as pure functions and compiled for a mesh."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from attokit.train.accumulation import accumulate
from attokit.train.ema import update_ema
from attokit.train.forward import Forward
from attokit.train.mesh import batch_sharding, replicated, state_shardings
from attokit.train.metrics import FirstNonFinite, Mean, Metrics
from attokit.train.state import TrainState
from attokit.train.task import Task

TrainStep = Callable[..., tuple[TrainState, Metrics]]
"""(state, batch) or (state, batch, constants) to (state, metrics)."""
FurtherLoss = Callable[[Array, Any, PyTree, PyTree], Array]
EvalStep = Callable[[PyTree, PyTree, Mapping[str, Array]], Metrics]


def make_train_step(
    forward: Forward,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
    parts: int = 1,
    further_loss: FurtherLoss | None = None,
) -> TrainStep:
    """Returns a pure function (state, batch, constants) -> (state, metrics).

    Beside the task's own metrics it gives `loss`, `gradient_norm` and `first_bad_step`, the step
    (from 1) whose loss or gradient was not finite.

    Args:
      forward: The network.
      task: The problem.
      optimizer: What makes updates of gradients.
      ema_decay: Of the moving average, if the state has one.
      parts: Into which the batch is cut, so that one at a time needs memory (`accumulate`).
      further_loss: (losses, outputs, inputs, constants) to the losses to train on, such as with those
        of distillation; `constants` are the step's third argument.
    """

    def train_step(
        state: TrainState, batch: Mapping[str, Array], constants: PyTree = ()
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

        def mean_loss(
            params: PyTree, model_state: PyTree, batch: Mapping[str, Array], key: Array
        ) -> tuple[Array, tuple]:
            inputs = (task.train_inputs or task.inputs)(batch)
            outputs, model_state = forward(params, model_state, inputs, train=True, key=key)
            losses = task.losses(outputs, batch)
            if further_loss is not None:
                losses = further_loss(losses, outputs, inputs, constants)
            metrics = task.train_metrics(outputs, batch, losses) | {"loss": Mean.of(losses)}
            return losses.mean(), (metrics, model_state)

        gradient_of = accumulate(jax.value_and_grad(mean_loss, has_aux=True), parts)
        (loss, (metrics, model_state)), gradients = gradient_of(
            state.params, state.model_state, batch, key
        )
        # Optax mixes integer counts with floats; our own code does not lean on promotion.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1
        ema = state.ema
        if ema is not None and ema_decay is not None:
            ema = update_ema(ema, (params, model_state), ema_decay, state.step)
        gradient_norm = optax.tree.norm(gradients)
        metrics |= {
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


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A training step on a mesh. It consumes (donates) the state that it is given.

    Attributes:
      program: The jitted function (state, batch, constants).
      constants: On the devices.
    """

    program: Any
    constants: PyTree

    def __call__(self, state: TrainState, batch: Mapping[str, Array]) -> tuple[TrainState, Metrics]:
        """Returns the next state and the metrics of one step."""
        return self.program(state, batch, self.constants)

    def trace(self, state: PyTree, batch: Mapping[str, jax.ShapeDtypeStruct]) -> None:
        """Traces the step for the shapes of a state and a batch, without compiling: what does not fit is raised."""
        self.program.trace(state, batch, self.constants)


def compile_train_step(
    train_step: TrainStep, mesh: Mesh, shardings: PyTree, *, constants: PyTree = ()
) -> CompiledStep:
    """Returns the step jitted for a mesh.

    Arrays among the constants, such as a teacher's parameters, are spread over the mesh like the state and
    are arguments of the compiled program, not part of it.
    """
    kept = state_shardings(mesh, jax.eval_shape(lambda: constants))
    program = jax.jit(
        train_step,
        in_shardings=(shardings, batch_sharding(mesh), kept),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )
    return CompiledStep(program, jax.device_put(constants, kept))


def make_eval_step(forward: Forward, task: Task) -> EvalStep:
    """Returns a pure function (params, model_state, batch) -> metrics; the batch has `mask`."""

    def eval_step(params: PyTree, model_state: PyTree, batch: Mapping[str, Array]) -> Metrics:
        key = jax.random.key(0)  # inference draws nothing; the signature wants one
        outputs, _ = forward(params, model_state, task.inputs(batch), train=False, key=key)
        return task.eval_metrics(outputs, batch)

    return eval_step
