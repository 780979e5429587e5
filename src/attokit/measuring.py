"""Evaluation of whatever predicts, with the metrics of training."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from attokit.predictor import Predictor
from attokit.train import EvalBatches, MetricTotals, Source
from attokit.train.metrics import Metric


def measure(
    predictor: Predictor,
    source: Source,
    metrics: Callable[[Any, Mapping[str, Any]], dict[str, Metric]],
    *,
    check: Callable[[Mapping[str, np.ndarray]], None],
    batch_size: int,
    prepare: Callable[[Any, Mapping[str, np.ndarray]], Any] | None = None,
) -> dict[str, float | np.ndarray]:
    """Returns evaluation metrics over a split.

    Args:
      predictor: Gives the outputs.
      source: The split.
      metrics: (outputs, batch) to metrics, such as a task's `eval_metrics`.
      check: Refuses a batch that they cannot mean, such as a task's.
      batch_size: Images at a time.
      prepare: (outputs, batch) to what the metrics take; the outputs as they are if None.

    Raises:
      ValueError: as `check` and `prepare` do.
    """
    compute = jax.jit(metrics)
    totals = MetricTotals()
    batches = EvalBatches(source, batch_size=min(batch_size, len(source)))
    for index in range(len(batches)):
        batch = batches[index]
        check(batch)
        outputs = predictor.outputs(batch["images"])
        if prepare is not None:
            outputs = prepare(outputs, batch)
        totals.add(compute(outputs, batch))
    return totals.compute()
