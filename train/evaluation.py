"""Evaluation: one pass over a split, every example counted exactly once."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from attokit.train.dataset import Source
from attokit.train.forward import Forward
from attokit.train.loader import EvalBatches, iterate
from attokit.train.mesh import make_mesh, put_batch
from attokit.train.metrics import MetricTotals
from attokit.train.step import EvalStep, make_eval_step
from attokit.train.task import Task


@functools.lru_cache(maxsize=16)
def _compiled(forward: Forward, task: Task) -> EvalStep:
    """Returns the jitted step; one per network and task, so that repeats compile nothing."""
    return jax.jit(make_eval_step(forward, task))


def evaluate(
    forward: Forward,
    params: PyTree,
    model_state: PyTree,
    source: Source,
    task: Task,
    *,
    batch_size: int = 250,
    mesh: Mesh | None = None,
    on_batch: Callable[[], None] | None = None,
) -> dict[str, float | np.ndarray]:
    """Returns the evaluation metrics of a network over one split.

    Args:
      forward: The network; pass the same object again to reuse the compiled step.
      params: Its parameters.
      model_state: Its state.
      source: The split, such as `dataset.split("test")`.
      task: What to compute.
      batch_size: Examples per step, rounded up to what the mesh divides; the last batch is filled up and
        masked.
      mesh: Where to run; the default device alone if None.
      on_batch: Called before each batch; what it raises ends the evaluation.

    Raises:
      ValueError: if a batch holds what the task cannot mean.
    """
    mesh = make_mesh(devices=jax.devices()[:1]) if mesh is None else mesh
    batches = EvalBatches(
        source,
        batch_size=-(-batch_size // mesh.size) * mesh.size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    step = _compiled(forward, task)
    totals = MetricTotals()
    for batch in iterate(batches):
        if on_batch is not None:
            on_batch()
        task.check(batch)
        totals.add(step(params, model_state, put_batch(batch, mesh)))
    return totals.compute()
