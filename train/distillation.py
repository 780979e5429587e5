"""Knowledge distillation: a trained network's outputs as further targets, computed inside the step.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from attokit.train.config import TrainConfig
from attokit.train.forward import Forward
from attokit.train.step import FurtherLoss


def distillation_loss(
    logits: Float[Array, "*b k"], teacher_logits: Float[Array, "*b k"], temperature: float
) -> Float[Array, "*b"]:
    """Returns the divergence of the softened outputs from the teacher's, in nats, times temperature².

    KL(softmax(teacher / t) || softmax(logits / t)); the square keeps the size of the gradient whatever
    the temperature is (section 2).
    """
    ours = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
    theirs = jax.nn.log_softmax(teacher_logits.astype(jnp.float32) / temperature)
    return temperature**2 * (jnp.exp(theirs) * (theirs - ours)).sum(-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network that shows a student what it sees. It is never changed and never saved.

    Attributes:
      name: What messages call it.
      forward: The network.
      params: Its parameters.
      model_state: Its state.
    """

    name: str
    forward: Forward
    params: PyTree
    model_state: PyTree

    @property
    def variables(self) -> tuple[PyTree, PyTree]:
        """What the step takes beside its batch, (params, model_state): no constants of the program."""
        return self.params, self.model_state

    def outputs(self, variables: tuple[PyTree, PyTree], inputs: PyTree) -> Any:
        """Returns what the teacher says of inputs, as in inference."""
        key = jax.random.key(0)  # inference draws nothing
        outputs, _ = self.forward(*variables, inputs, train=False, key=key)
        return jax.lax.stop_gradient(outputs)


def distillation(teacher: Teacher, weight: float, temperature: float) -> FurtherLoss:
    """Returns what makes of a step's losses those with a share `weight` of distillation in them.

    The constants of the step are the teacher's variables. Where an example has several outputs, as pixels,
    their divergences are averaged.

    Raises:
      ValueError: when it is traced, if the outputs cannot follow the teacher's.
    """

    def further(losses: Array, outputs: Any, inputs: PyTree, variables: PyTree) -> Array:
        shown = teacher.outputs(variables, inputs)
        shapes = [getattr(value, "shape", None) for value in (outputs, shown)]
        if shapes[0] is None or shapes[0] != shapes[1]:
            raise ValueError(
                f"teacher {teacher.name} gives {_spelled(shown)}, the network {_spelled(outputs)}: "
                "distillation needs a teacher of the same classes, and one array of logits"
            )
        divergence = distillation_loss(outputs, shown, temperature)
        per_example = divergence.reshape(divergence.shape[0], -1).mean(-1)
        return (1 - weight) * losses + weight * per_example

    return further


def check_distillation(config: TrainConfig, teacher: Teacher | None) -> None:
    """Refuses settings of distillation that change nothing.

    Raises:
      ValueError: if there are some, and no teacher.
    """
    for name in ("distillation_weight", "distillation_temperature"):
        value = getattr(config, name)
        if teacher is None and value != getattr(TrainConfig, name):
            raise ValueError(
                f"{name} {value} changes nothing without a teacher: add one (--teacher), or leave it out"
            )


def _spelled(outputs: Any) -> str:
    """Returns the shapes of outputs as a message says them."""
    return ", ".join(str(list(leaf.shape)) for leaf in jax.tree.leaves(outputs))
