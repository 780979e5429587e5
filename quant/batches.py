"""Batches of inputs as callers give them to what runs a graph on data."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from attokit.quant.graph import Graph


def batches_of(graph: Graph, batches: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Returns batches as tuples, one array for each input of the graph.

    Args:
      graph: That is to be run.
      batches: Arrays, or tuples of arrays where the graph takes several.

    Raises:
      ValueError: if there is none, or one that is in no list.
    """
    if isinstance(batches, np.ndarray | jax.Array):
        _refuse_bare_batch(graph, batches.shape)
    found = [tuple(b) if isinstance(b, tuple | list) else (b,) for b in batches]
    if not found:
        raise ValueError(
            "calibration got no batch; give it a few hundred typical inputs "
            "(an iterator that was used up is empty: pass a list)"
        )
    return found


def carried(graph: Graph, batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns a batch in the types that the graph computes in; what is too much stays as it is."""
    own = [jnp.asarray(x, graph.carried(n)) for n, x in zip(graph.inputs, batch, strict=False)]
    return (*own, *batch[len(own) :])


def check_all_finite(graph: Graph, index: int, batch: tuple[Any, ...]) -> None:
    """Raises ValueError if an input of a float type holds what is not finite."""
    for name, value in zip(graph.inputs, batch, strict=False):
        if graph.carried(name) == "float32":
            check_finite(name, index, np.asarray(value, np.float32))


def check_finite(name: str, index: int, array: Float[np.ndarray, "..."]) -> None:
    """Raises ValueError if an input of the batch of this index holds what is not finite.

    What follows may hide it: rectifiers may make 0 of NaN.
    """
    if not np.isfinite(array).all():
        raise ValueError(
            f"calibration batch {index} of input {name!r} holds "
            f"{np.count_nonzero(~np.isfinite(array))} values that are not finite; leave it out"
        )


def _refuse_bare_batch(graph: Graph, shape: tuple[int, ...]) -> None:
    """Raises ValueError if what should be many batches is one: its examples would pass for batches."""
    wanted = graph.tensors[graph.inputs[0]].shape
    if len(shape) <= len(wanted):
        raise ValueError(
            f"batches is one array of shape {shape}, not a list of batches of shape "
            f"(batch, {', '.join(map(str, wanted[1:]))}): put it into a list, [batch]"
        )
