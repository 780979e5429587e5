"""Optimizers: SGD with Nesterov momentum, AdamW, or Muon, with clipping and selective decay."""

from typing import Literal, get_args

import jax
import optax
from jaxtyping import PyTree
from optax import contrib

Optimizer = Literal["sgd", "adamw", "muon"]

_MUON_RMS = 0.2  # of an orthogonal update, as AdamW's updates have: one rate then serves both


def decays(path: tuple, leaf: jax.Array) -> bool:
    """Returns whether weight decay applies to a parameter.

    It spares norms and biases: everything of rank 0 or 1, and what is called so.
    """
    name = jax.tree_util.keystr(path[-1:], simple=True).rsplit("/", 1)[-1]
    return leaf.ndim >= 2 and name not in ("bias", "scale", "zero_point")


def decay_mask(params: PyTree) -> PyTree:
    """Returns a tree of bools like `params`: True where weight decay applies."""
    return jax.tree_util.tree_map_with_path(decays, params)


def _matrix(path: tuple, leaf: jax.Array) -> contrib.MuonDimensionNumbers | None:
    """Returns how a parameter is a matrix of inputs by outputs, or None if it is none.

    Kernels are, in layout [..., inputs, outputs], but depthwise ones (one input) and thinner ones
    than a matrix are not.
    """
    if leaf.ndim < 2 or not decays(path, leaf) or 1 in leaf.shape[-2:]:
        return None
    return contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,))


def _kinds(params: PyTree) -> PyTree:
    def kind(path: tuple, leaf: jax.Array) -> str:
        return "other" if _matrix(path, leaf) is None else "matrix"

    return jax.tree_util.tree_map_with_path(kind, params)


def _matrices(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(_matrix, params)


def check_optimizer(name: str) -> None:
    """Raises ValueError unless there is an optimizer of that name."""
    known = get_args(Optimizer)
    if name not in known:
        raise ValueError(f"no optimizer {name!r}: choose {', '.join(known[:-1])} or {known[-1]}")


def make_optimizer(
    name: Optimizer,
    learning_rate: float | optax.Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """Returns the optimizer.

    Clipping (to a global norm) comes first. SGD's decay is added to the gradient before the
    momentum, AdamW's and Muon's are decoupled; all are scaled by the learning rate.

    Muon (Jordan, 2024; the size of its updates after Liu et al., arXiv 2502.16982, section 2.2) makes
    the update of each kernel orthogonal, a convolution's as a matrix of all that it reads by its
    outputs. Depthwise kernels, biases and scales are trained by AdamW at the same rate.

    Raises:
      ValueError: if the name is unknown.
    """
    check_optimizer(name)
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm is not None else []
    if name == "sgd":
        decay = optax.add_decayed_weights(weight_decay, mask=decay_mask)
        return optax.chain(*clip, decay, optax.sgd(learning_rate, momentum, nesterov=True))
    adamw = optax.adamw(learning_rate, b1=momentum, weight_decay=weight_decay, mask=decay_mask)
    if name == "adamw":
        return optax.chain(*clip, adamw)
    muon = contrib.muon(
        learning_rate,
        beta=momentum,
        weight_decay=weight_decay,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=_MUON_RMS,
    )
    return optax.chain(*clip, optax.partition({"matrix": muon, "other": adamw}, _kinds))
