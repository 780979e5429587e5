"""Batches of inputs as callers give them to what runs a graph on data."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attokit.quant.graph import Graph


def batches_of(graph: Graph, batches: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Returns batches as tuples, one array for each input of the graph.

    Args:
      graph: That is to be run.
      batches: Arrays, or tuples of arrays where the graph takes several.

    Raises:
      ValueError: if there is none, or one that is in no list; if one is empty, holds integers or what is not
        finite where the graph takes reals.
    """
    if isinstance(batches, np.ndarray | jax.Array):
        _refuse_bare_batch(graph, batches.shape)
    found = [tuple(b) if isinstance(b, tuple | list) else (b,) for b in batches]
    if not found:
        raise ValueError(
            "calibration got no batch; give it a few hundred typical inputs "
            "(an iterator that was used up is empty: pass a list)"
        )
    for i, batch in enumerate(found):
        _check_batch(graph, i, batch)
    return found


def examples_of(batch: tuple[Any, ...]) -> int:
    """Returns how many examples a batch holds; one where all inputs are single numbers."""
    return next((len(x) for x in batch if np.ndim(x)), 1)


def carried(graph: Graph, batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns a batch in the types that the graph computes in; what is too much stays as it is."""
    own = [jnp.asarray(x, graph.carried(n)) for n, x in zip(graph.inputs, batch, strict=False)]
    return (*own, *batch[len(own) :])


def _check_batch(graph: Graph, index: int, batch: tuple[Any, ...]) -> None:
    """Raises ValueError if a batch holds nothing, or in an input of a float type no finite floats.

    What follows may hide it: rectifiers may make 0 of NaN.
    """
    for name, value in zip(graph.inputs, batch, strict=False):
        array = np.asarray(value)
        what = f"calibration batch {index} of input {name!r}"
        if not array.size:
            raise ValueError(
                f"{what} has shape {array.shape}, which holds no value; leave empty batches out"
            )
        if graph.carried(name) != "float32":
            continue
        if not jax.dtypes.issubdtype(array.dtype, np.floating):
            raise ValueError(f"{what} is {array.dtype}; give floats (bytes / 255)")
        finite = np.isfinite(array.astype(np.float32))
        if not finite.all():
            raise ValueError(
                f"{what} holds {np.count_nonzero(~finite)} values that are not finite; leave it out"
            )


def _refuse_bare_batch(graph: Graph, shape: tuple[int, ...]) -> None:
    """Raises ValueError if what should be many batches is one: its examples would pass for batches."""
    wanted = graph.tensors[graph.inputs[0]].shape
    if len(shape) <= len(wanted):
        raise ValueError(
            f"batches is one array of shape {shape}, not a list of batches of shape "
            f"(batch, {', '.join(map(str, wanted[1:]))}): put it into a list, [batch]"
        )
