"""Evaluation of whatever predicts, with the metrics of training."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from attokit.predictor import Predictor
from attokit.train import EvalBatches, MetricTotals, Source, Task


def measure(
    predictor: Predictor,
    source: Source,
    task: Task,
    *,
    batch_size: int,
    prepare: Callable[[Any, Mapping[str, np.ndarray]], Any] | None = None,
) -> dict[str, float | np.ndarray]:
    """Returns the evaluation metrics of a task over a split.

    Args:
      predictor: Gives the outputs.
      source: The split.
      task: As it was trained.
      batch_size: Images at a time.
      prepare: (outputs, batch) to what the task's metrics take; the outputs as they are if None.

    Raises:
      ValueError: if a batch is none of the task, or as `prepare` does.
    """

    @jax.jit
    def compute(outputs: Any, batch: Mapping[str, Any]) -> Any:
        return task.eval_metrics(outputs, batch)

    totals = MetricTotals()
    batches = EvalBatches(source, batch_size=min(batch_size, len(source)))
    for index in range(len(batches)):
        batch = batches[index]
        task.check(batch)
        outputs = predictor.outputs(batch["images"])
        if prepare is not None:
            outputs = prepare(outputs, batch)
        totals.add(compute(outputs, batch))
    return totals.compute()
