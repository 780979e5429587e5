"""Float training of a registry model into a run folder."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils
from rich.console import Console

from attokit import zoo
from attokit.checkpoints import save_weights
from attokit.export import write
from attokit.runs import Run, describe_run, open_run
from attokit.start_weights import Start, start_variables
from attokit.tasks import view_of
from attokit.train import (
    Dataset,
    FitResult,
    Forward,
    Task,
    Teacher,
    TrainConfig,
    fit,
    split_variables,
    task_for,
)
from attokit.train.mesh import named_mesh, replicate


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
    start: Start | None = None,
    teacher: Teacher | None = None,
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
      start: Trained weights to start from; random weights if None.
      teacher: A trained network to learn from as well; see `attokit.teachers`.
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
        variables = start_variables(start, model, overrides, dataset.image_shape, seed=config.seed)
    result = fit(
        config,
        forward or task.forward(network),
        *split_variables(variables),
        dataset,
        run_dir,
        task=task,
        teacher=teacher,
        eval_split=eval_split,
        resume=resume,
        extra=describe_run(model, overrides, data, dataset)
        | {
            "teacher": None if teacher is None else teacher.name,
            "split": eval_split,
            "start": None if start is None else start.name,
            "reset_head": start is not None and start.reset_head,
        },
        console=console,
    )
    run = open_run(pathlib.Path(run_dir))
    # A host holds its part of what `fsdp` spreads; together they make it whole, and one writes.
    mesh = named_mesh(config.mesh)
    shipped = replicate({"params": result.params, **result.model_state}, mesh)
    if jax.process_index() == 0:
        save_weights(
            run.weights_path,
            shipped,
            metadata={"model": model, task.best_metric: f"{result.metrics[task.best_metric]:.4f}"},
        )
        write_labels(run.path / "labels.txt", run.class_names)
    if jax.process_count() > 1:  # no host says that it is done before the weights are there
        multihost_utils.sync_global_devices("weights are written")
    return run, result


def write_labels(path: pathlib.Path, class_names: tuple[str, ...]) -> None:
    """Writes one class name per line, in the order of the class ids."""
    write(path, "".join(f"{name}\n" for name in class_names).encode())
