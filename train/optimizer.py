"""Optimizers: SGD with Nesterov momentum, or AdamW, with clipping and selective decay."""

from typing import Literal

import jax
import optax
from jaxtyping import PyTree


def decays(path: tuple, leaf: jax.Array) -> bool:
    """Returns whether weight decay applies to a parameter.

    It spares norms and biases: everything of rank 0 or 1, and what is called so.
    """
    name = jax.tree_util.keystr(path[-1:], simple=True).rsplit("/", 1)[-1]
    return leaf.ndim >= 2 and name not in ("bias", "scale", "zero_point")


def decay_mask(params: PyTree) -> PyTree:
    """Returns a tree of bools like `params`: True where weight decay applies."""
    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(
    name: Literal["sgd", "adamw"],
    learning_rate: float | optax.Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """Returns the optimizer.

    Clipping (to a global norm) comes first. SGD's decay is added to the gradient before the
    momentum, AdamW's is decoupled; both are scaled by the learning rate.

    Raises:
      ValueError: if the name is unknown.
    """
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm is not None else []
    if name == "sgd":
        decay = optax.add_decayed_weights(weight_decay, mask=decay_mask)
        return optax.chain(*clip, decay, optax.sgd(learning_rate, momentum, nesterov=True))
    if name == "adamw":
        adamw = optax.adamw(learning_rate, b1=momentum, weight_decay=weight_decay, mask=decay_mask)
        return optax.chain(*clip, adamw)
    raise ValueError(f"no optimizer {name!r}: choose sgd or adamw")
