"""Gradient accumulation: the gradient of a large batch, taken from its parts one after the other."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from attokit.train.metrics import Metrics, merge_metrics

GradientOf = Callable[
    [PyTree, PyTree, PyTree, Array], tuple[tuple[Array, tuple[Metrics, PyTree]], PyTree]
]
"""(params, model_state, batch, key) to ((loss, (metrics, new model_state)), gradients)."""


def split_batch(batch: PyTree, parts: int) -> PyTree:
    """Returns a batch with a new leading axis of parts: part i has the rows i, i + parts, ...

    So each device of a mesh finds its rows of every part among those that it holds.
    """

    def split(rows: Array) -> Array:
        grouped = rows.reshape(rows.shape[0] // parts, parts, *rows.shape[1:])
        return jnp.moveaxis(grouped, 1, 0)

    return jax.tree.map(split, batch)


def accumulate(gradient_of: GradientOf, parts: int) -> GradientOf:
    """Returns a function that gives what `gradient_of` gives of the whole batch, from equal parts of it.

    Loss and gradient are the means over the parts, so they are those of the batch up to the rounding
    of another order of sums. What looks at a batch as a whole looks at each part: batch norm
    normalizes by the part, and running statistics move once per part; losses that divide by what a batch
    holds, as those of detectors do, divide by what the part holds; mixup mixes within the part. Each part
    draws its own randomness.
    """
    if parts == 1:
        return gradient_of

    def whole(params: PyTree, model_state: PyTree, batch: PyTree, key: Array) -> Any:
        def one(carry: tuple, piece: tuple[Array, PyTree]) -> tuple[tuple, tuple]:
            state, total = carry
            index, rows = piece
            part_key = jax.random.fold_in(key, index)
            (loss, (metrics, state)), gradients = gradient_of(params, state, rows, part_key)
            return (state, jax.tree.map(jnp.add, total, gradients)), (loss, metrics)

        zeros = jax.tree.map(jnp.zeros_like, params)
        pieces = (jnp.arange(parts), split_batch(batch, parts))
        (state, total), (losses, stacked) = jax.lax.scan(one, (model_state, zeros), pieces)
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(parts)]
        metrics = functools.reduce(merge_metrics, each)
        gradients = jax.tree.map(lambda leaf: leaf / parts, total)
        return (losses.mean(), (metrics, state)), gradients

    return whole
