"""Float training of a registry model into a run folder."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from rich.console import Console

from attokit import zoo
from attokit.checkpoints import load_weights, save_weights
from attokit.export import write
from attokit.runs import Run, describe_run, open_run
from attokit.tasks import view_of
from attokit.train import (
    Dataset,
    FitResult,
    Forward,
    Task,
    TrainConfig,
    fit,
    split_variables,
    task_for,
)


def train_float(
    model: str,
    overrides: Mapping[str, Any],
    data: str,
    dataset: Dataset,
    config: TrainConfig,
    run_dir: pathlib.Path,
    *,
    eval_split: str = "test",
    task: Task | None = None,
    forward: Forward | None = None,
    start: Run | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> tuple[Run, FitResult]:
    """Trains a model and returns the run and its result.

    Args:
      model: Name in the zoo's registry.
      overrides: Fields of its config that differ from the published one.
      data: What `config.json` calls the data.
      dataset: The data.
      config: How to train.
      run_dir: The run folder.
      eval_split: The split to evaluate on.
      task: As `fit` takes it; that of the data with the settings of `config` if None.
      forward: Of `zoo.create(model, **overrides)`; give it to evaluate again without compiling.
      start: The run whose trained weights to start from; random weights if None.
      resume: Go on from the newest checkpoint.
      console: Where to print.

    Raises:
      ValueError: if model, data or settings do not fit, or the run folder holds another run.
    """
    network = zoo.create(model, **overrides)
    example = jax.ShapeDtypeStruct((1, *dataset.image_shape), "float32")
    outputs = jax.eval_shape(
        lambda key, x: network.init_with_output(key, x)[0], jax.random.key(0), example
    )
    view_of(dataset.task).check_outputs(model, outputs, dataset)
    task = task or task_for(dataset, config, network)
    if start is None:
        variables = jax.jit(lambda key: network.init(key, jax.numpy.zeros(example.shape)))(
            jax.random.key(config.seed)
        )
    else:
        like = jax.eval_shape(network.init, jax.random.key(0), example)
        variables = jax.tree.map(jax.numpy.asarray, load_weights(start.weights_path, like))
    result = fit(
        config,
        forward or task.forward(network),
        *split_variables(variables),
        dataset,
        run_dir,
        task=task,
        eval_split=eval_split,
        resume=resume,
        extra=describe_run(model, overrides, data, dataset)
        | {"start": None if start is None else str(start.path.resolve())},
        console=console,
    )
    run = open_run(pathlib.Path(run_dir))
    save_weights(
        run.weights_path,
        {"params": result.params, **result.model_state},
        metadata={"model": model, task.best_metric: f"{result.metrics[task.best_metric]:.4f}"},
    )
    write_labels(run.path / "labels.txt", run.class_names)
    return run, result


def write_labels(path: pathlib.Path, class_names: tuple[str, ...]) -> None:
    """Writes one class name per line, in the order of the class ids."""
    write(path, "".join(f"{name}\n" for name in class_names).encode())
