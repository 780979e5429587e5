"""The one form of network that the loop trains: a pure function of pytrees."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from flax import linen as nn
from jaxtyping import Array, PyTree


class Forward(Hashable, Protocol):
    """A network: parameters that learn, state that it updates itself, and inputs.

    `params` holds only what the optimizer changes (floats); `model_state` whatever else the
    network needs: running statistics, or constants such as integer zero points.
    """

    def __call__(
        self, params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array
    ) -> tuple[Any, PyTree]:
        """Returns (outputs, new model_state).

        Training may take other inputs and give other outputs than inference: `Task` says which.
        """
        ...


Lesson = Callable[[Any, PyTree, Array], Any]
"""(bound module, inputs of training, key) to the outputs of training."""


def flax_forward(model: nn.Module, *, learn: Lesson | None = None) -> Forward:
    """Returns the forward function of a Linen module that takes `train`.

    `params` is the collection of that name, `model_state` a dict of all other collections,
    which training may change. `key` feeds dropout.

    Args:
      model: The module.
      learn: What training calls in the place of `model.__call__(inputs, train=True)`, for a network that
        has to see more than its inputs to learn; `key` is for its own draws too.
    """
    method = learn or _call_in_training

    def forward(
        params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array
    ) -> tuple[Any, PyTree]:
        variables = {"params": params, **model_state}
        if not train:
            return model.apply(variables, inputs, train=False), model_state
        outputs, changed = model.apply(
            variables,
            inputs,
            key,
            method=method,
            mutable=list(model_state),
            rngs={"dropout": key},
        )
        return outputs, dict(changed)

    return forward


def _call_in_training(module: Any, inputs: PyTree, key: Array) -> Any:
    del key  # dropout has it already
    return module(inputs, train=True)


def split_variables(variables: PyTree) -> tuple[PyTree, PyTree]:
    """Returns (params, model_state) of a Linen module's variables."""
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}
