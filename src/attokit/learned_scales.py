"""Scales that QAT learns: the calibrated ones times the exponential of what was learned.

So a scale stays positive, and one rate suits scales of every size.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32, PyTree

from attokit.quant import Graph, QParams, QuantParams, trainable


def with_scales(
    qparams: QParams, log_scales: Mapping[str, Float[Array, "*c"]]
) -> dict[str, QuantParams]:
    """Returns qparams whose scales are multiplied by exp of what was learned."""
    return {
        name: dataclasses.replace(entry, scale=entry.scale * jnp.exp(log_scales[name]))
        if name in log_scales
        else entry
        for name, entry in qparams.items()
    }


def initial_log_scales(
    graph: Graph, qparams: QParams, learn: Sequence[str] = ("*",), freeze: Sequence[str] = ()
) -> dict[str, Float[Array, "*c"]]:
    """Returns zeros for every scale that is to be learned; those of the inputs never are.

    An input's scale is a contract with whoever fills it (byte / 255).

    Args:
      graph: As traced.
      qparams: As calibrated.
      learn: Patterns of names of scales that learn; none learns nothing.
      freeze: Patterns of those among them that stay as calibrated.

    Raises:
      ValueError: if a pattern matches no name, or patterns leave nothing to learn.
    """
    inputs = {graph.tensors[name].range_name for name in graph.inputs}
    mask = trainable(qparams, learn=learn, freeze=freeze)
    learned = {
        name: jnp.zeros_like(entry.scale)
        for name, entry in qparams.items()
        if mask[name].scale and name not in inputs
    }
    if learn and not learned:
        raise ValueError(
            f"no scale is left to learn of {', '.join(learn)} without {', '.join(freeze) or 'any'}: "
            "an input's scale is a contract and stays; name others"
        )
    return learned


class Held(NamedTuple):
    """State of `hold_scales_after`.

    Attributes:
      step: Updates so far.
    """

    step: Int32[Array, ""]


def hold_scales_after(steps: int) -> optax.GradientTransformation:
    """Returns a transformation behind an optimizer that lets scales learn for so many steps only.

    Updates have "log_scales", which are zeros from then on, bit for bit, whatever momentum is left.
    """

    def init(params: PyTree) -> Held:
        del params
        return Held(jnp.int32(0))

    def update(updates: PyTree, state: Held, params: PyTree = None) -> tuple[PyTree, Held]:
        del params
        learns = state.step < steps
        scales = jax.tree.map(
            lambda value: jnp.where(learns, value, jnp.zeros_like(value)), updates["log_scales"]
        )
        return {**updates, "log_scales": scales}, Held(state.step + 1)

    return optax.GradientTransformation(init, update)
