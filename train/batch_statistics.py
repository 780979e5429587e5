"""Running statistics of batch norms, measured again over a number of batches.

What training leaves is a moving average over the last steps, of a network that changed meanwhile; and where the
parameters are averaged themselves, the statistics are of none of the networks that were trained. Measured with the
parameters fixed they are those of the very network that is shipped.

Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from attokit.train.dataset import Source
from attokit.train.forward import Forward
from attokit.train.loader import TrainBatches, iterate
from attokit.train.mesh import check_batch_size, make_mesh, put_batch, replicated
from attokit.train.task import Task

_COLLECTION = "batch_stats"


def reestimate_batch_stats(
    forward: Forward,
    params: PyTree,
    model_state: PyTree,
    source: Source,
    task: Task,
    *,
    batches: int,
    batch_size: int = 128,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> PyTree:
    """Returns the state with the mean and variance of every batch norm over all of some batches.

    With m_i and v_i of batch i, the mean is the mean of m_i and the variance the mean of v_i + m_i², less
    the square of that mean: what the batches have as one, each normalized by its own statistics on the
    way. Images are as inference sees them, without augmentation; dropout is on, as in training.

    Works for every network whose training moves `mean` and `var` towards those of the batch by a
    constant share, as Flax's and the zoo's norms do; the share is found by differentiating.

    Args:
      forward: The network, as it is trained (`Task.forward`).
      params: Its parameters, such as their moving average.
      model_state: With the statistics to replace, in "batch_stats".
      source: Of the training images.
      task: What the network is trained for.
      batches: How many.
      batch_size: Examples in each.
      seed: Of the order of examples.
      mesh: Where to compute; the default device alone if None.

    Raises:
      ValueError: if there is no batch norm or no batch, the devices do not divide the batches, or what is in
        "batch_stats" is no mean and variance.
    """
    if batches < 1:
        raise ValueError(f"batch statistics over {batches} batches: give at least 1")
    _check(model_state)
    mesh = make_mesh(devices=jax.devices()[:1]) if mesh is None else mesh
    check_batch_size(batch_size, mesh)
    everywhere = replicated(mesh)
    measure = jax.jit(functools.partial(_measure, forward, task), out_shardings=everywhere)
    placed = jax.device_put((params, model_state), everywhere)
    read = TrainBatches(
        source,
        batch_size=batch_size,
        steps=batches,
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    total: Any = None
    for step, batch in enumerate(iterate(read)):
        task.check(batch)
        moved, kept = jax.device_get(measure(*placed, put_batch(batch, mesh), step))
        _check_moved(kept)
        own = _of_norms(_moments, moved, kept)
        total = own if total is None else jax.tree.map(np.add, total, own)
    means = jax.tree.map(lambda value: value / batches, total)
    return {**model_state, _COLLECTION: _of_norms(_statistics, means)}


def _measure(
    forward: Forward,
    task: Task,
    params: PyTree,
    model_state: PyTree,
    batch: Mapping[str, Array],
    step: Array,
) -> tuple[PyTree, PyTree]:
    """Returns where a training step moves statistics of 0, and the share of the old that it keeps."""
    inputs = (task.train_inputs or task.inputs)(batch)
    key = jax.random.fold_in(jax.random.key(0), step)

    def moved(statistics: PyTree) -> PyTree:
        state = {**model_state, _COLLECTION: statistics}
        return forward(params, state, inputs, train=True, key=key)[1][_COLLECTION]

    old = jax.tree.map(jnp.zeros_like, model_state[_COLLECTION])
    return jax.jvp(moved, (old,), (jax.tree.map(jnp.ones_like, old),))


def _is_norm(node: Any) -> bool:
    return isinstance(node, Mapping) and node.keys() == {"mean", "var"}


def _of_norms(function: Callable[..., dict[str, Any]], *trees: PyTree) -> PyTree:
    """Returns a tree of what a function makes of the {"mean", "var"} of each norm."""
    return jax.tree.map(function, *trees, is_leaf=_is_norm)


def _check(model_state: PyTree) -> None:
    """Refuses a state without the mean and variance of a norm."""
    statistics = model_state.get(_COLLECTION)
    if not jax.tree.leaves(statistics):
        raise ValueError(
            "the network has no batch norm whose statistics could be measured again (its variables hold no "
            f"{_COLLECTION!r}): leave it out"
        )
    others = _named(statistics, lambda node: not _is_norm(node))
    if others:
        raise ValueError(
            f"{_COLLECTION!r} holds {others}, which are no mean and var of a batch norm: "
            "leave re-estimation out"
        )


def _check_moved(kept: PyTree) -> None:
    """Refuses norms that keep all of the old."""
    still = _named(kept, lambda norm: any(np.any(share == 1) for share in norm.values()))
    if still:
        raise ValueError(
            f"training does not move the statistics of batch norms ({still}): leave re-estimation out"
        )


def _named(statistics: PyTree, wanted: Callable[[Any], bool]) -> str:
    """Returns the paths of those norms, and other leaves, that are wanted."""
    leaves = jax.tree_util.tree_leaves_with_path(statistics, is_leaf=_is_norm)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return ", ".join(n for n, (_, node) in zip(names, leaves, strict=True) if wanted(node))


def _moments(moved: dict[str, np.ndarray], kept: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a batch's means, and in the place of variances its means of squares, in float64."""
    mean, var = (moved[name].astype(np.float64) / (1 - kept[name]) for name in ("mean", "var"))
    return {"mean": mean, "var": var + np.square(mean)}


def _statistics(moments: dict[str, np.ndarray]) -> dict[str, Array]:
    """Returns mean and variance by the means of values and of squares."""
    var = moments["var"] - np.square(moments["mean"])  # rounding may leave it slightly below zero
    return {
        "mean": jnp.asarray(moments["mean"], jnp.float32),
        "var": jnp.asarray(np.maximum(var, 0), jnp.float32),
    }
