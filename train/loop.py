"""The training loop: one loop for float networks and for quantization-aware training."""

import collections
import dataclasses
import gc
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree
from rich.console import Console

from attokit.checkpoints.store import CheckpointStore
from attokit.train.config import TrainConfig
from attokit.train.dataset import Dataset, Source
from attokit.train.distillation import Teacher, check_distillation, distillation
from attokit.train.evaluation import evaluate
from attokit.train.forward import Forward
from attokit.train.gradient_filter import filter_gradients
from attokit.train.hard_threshold import iterative_hard_thresholding
from attokit.train.interruption import Interruption
from attokit.train.loader import TrainBatches, iterate, let_go
from attokit.train.mesh import batch_sharding, check_batch_size, named_mesh, put_batch
from attokit.train.metrics import Metrics, compute_metrics, merge_metrics
from attokit.train.mixed_precision import in_bfloat16
from attokit.train.mixing import check_mixing, mixed_task
from attokit.train.optimizer import make_optimizer
from attokit.train.path_rates import path_rates, scale_updates, without_frozen_gradients
from attokit.train.profiling import StepProfiler
from attokit.train.progress import training_progress
from attokit.train.run_folder import RunFolder
from attokit.train.schedule import warmup_cosine
from attokit.train.state import TrainState, abstract_state, place_state
from attokit.train.step import CompiledStep, TrainStep, compile_train_step, make_train_step
from attokit.train.task import Task
from attokit.train.task_choice import task_for

# Steps that may wait on the device: enough to hide the host, few enough to show true progress.
_STEPS_AHEAD = 2


class NonFiniteLossError(ValueError):
    """The loss or the gradient of a step was NaN or infinite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a run leaves.

    Attributes:
      state: The state after the last step.
      params: Those to evaluate and ship: the moving average if there is one.
      model_state: Its counterpart.
      metrics: The last evaluation; numbers, and arrays such as the confusion matrix.
      images_per_second: Training throughput between log lines, compilation left out.
      run_dir: The run folder.
    """

    state: TrainState
    params: PyTree
    model_state: PyTree
    metrics: Mapping[str, float | np.ndarray]
    images_per_second: float
    run_dir: pathlib.Path


def config_optimizer(config: TrainConfig, train_size: int) -> optax.GradientTransformation:
    """Returns the optimizer and schedule that a config asks for."""
    schedule = warmup_cosine(
        config.learning_rate,
        config.total_steps(train_size),
        warmup_fraction=config.warmup_fraction,
        final_fraction=config.final_fraction,
    )
    return make_optimizer(
        config.optimizer,
        schedule,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )


def _thresholding(config: TrainConfig, total_steps: int) -> optax.GradientTransformation:
    """Returns what keeps parameters as sparse as a config asks for; stands behind all else."""
    start, fixed = (round(share * total_steps) for share in config.kept_between)
    return iterative_hard_thresholding(
        dict(config.kept_shares), start=start, fixed=fixed if fixed < total_steps else None
    )


def config_step(
    config: TrainConfig,
    forward: Forward,
    task: Task,
    optimizer: optax.GradientTransformation,
    teacher: Teacher | None = None,
) -> TrainStep:
    """Returns the pure training step that a config asks for.

    Args:
      config: The settings.
      forward: The network.
      task: The problem.
      optimizer: What makes updates of gradients.
      teacher: Of distillation; its variables are the step's third argument.
    """
    if config.rate_factors:
        forward = without_frozen_gradients(forward, config.rate_factors)
    if config.filter_gradients:
        forward = filter_gradients(forward, config.filter_gradients, config.filter_patch)
    if config.compute_dtype == "bfloat16":
        forward = in_bfloat16(forward)
    further = None
    if teacher is not None:
        weight, temperature = config.distillation_weight, config.distillation_temperature
        further = distillation(teacher, weight, temperature)
    return make_train_step(
        forward,
        mixed_task(task) if config.augment.mixes else task,
        optimizer,
        ema_decay=config.ema_decay,
        parts=config.accumulate,
        further_loss=further,
    )


def _scalars(metrics: Mapping[str, float | np.ndarray]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


_merge = jax.jit(merge_metrics)


@jax.jit
def _all_finite(tree: PyTree) -> jax.Array:
    """Returns whether every float of a tree is finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]))


@dataclasses.dataclass
class _Run:
    """The moving parts of one run; `fit` builds it."""

    config: TrainConfig
    forward: Forward
    task: Task
    train_size: int
    eval_source: Source
    eval_split: str
    mesh: Mesh
    train_step: CompiledStep
    state: TrainState
    step: int
    total_steps: int
    batches: Any  # Grain's iterator
    store: CheckpointStore
    folder: RunFolder
    console: Console
    profiler: StepProfiler
    saved_metrics: Mapping[str, float | np.ndarray] = dataclasses.field(default_factory=dict)
    pending: Metrics | None = None
    rates: list[float] = dataclasses.field(default_factory=list)

    def advance(self, waiting: collections.deque) -> None:
        """Takes one step; waits for the device only when it is `_STEPS_AHEAD` behind."""
        try:
            batch = next(self.batches)
        except Exception as err:
            if self.config.workers:
                let_go(err)
            raise
        self.task.check(batch)
        placed = put_batch(batch, self.mesh)
        self.profiler.before_step()
        # The step moves nothing between host and devices: what it needs is there.
        with jax.transfer_guard("disallow"):
            self.state, metrics = self.train_step(self.state, placed)
        self.step += 1
        if self.profiler.after_step(metrics):
            self.console.print(f"recorded steps into {self.profiler.folder}", soft_wrap=True)
        self.pending = metrics if self.pending is None else _merge(self.pending, metrics)
        waiting.append(metrics)
        if len(waiting) > _STEPS_AHEAD:
            jax.block_until_ready(waiting.popleft())

    def collect(self) -> dict[str, float]:
        """Returns the training metrics since the last call.

        Raises:
          NonFiniteLossError: if a step among them had a loss or gradient that is not finite.
        """
        if self.pending is None:
            return {}
        values = compute_metrics(self.pending)
        self.pending = None
        bad_step = values.pop("first_bad_step")
        if bad_step >= 0:
            raise NonFiniteLossError(
                f"the loss or its gradient is not finite at step {bad_step} of "
                f"{self.total_steps}: try a lower learning rate (now "
                f"{self.config.learning_rate}), gradient clipping (clip_norm, now "
                f"{self.config.clip_norm}) or a longer warm-up, and look for bad values in the data"
            )
        return _scalars(values)

    def save(self, metrics: Mapping[str, float] | None = None) -> None:
        """Saves a checkpoint, of a state that is finite or not at all."""
        if not bool(_all_finite((self.state.params, self.state.model_state))):
            raise NonFiniteLossError(
                f"a parameter is not finite after step {self.step} of {self.total_steps}: try a "
                f"lower learning rate (now {self.config.learning_rate}) or gradient clipping "
                f"(clip_norm, now {self.config.clip_norm})"
            )
        # The order of examples and all that varies them follow from the step alone.
        self.store.save(self.step, self.state, {"step": self.step}, metrics=metrics)

    def evaluate(self, interruption: Interruption) -> None:
        """Evaluates, logs, prints one line and saves a checkpoint with the numbers."""
        params, model_state = self.state.inference
        self.saved_metrics = evaluate(
            self.forward,
            params,
            model_state,
            self.eval_source,
            self.task,
            batch_size=self.config.eval_batch_size or self.config.batch_size,
            mesh=self.mesh,
            on_batch=interruption.check,
        )
        scalars = _scalars(self.saved_metrics)
        self.folder.log(self.step, self.eval_split, scalars)
        text = "  ".join(f"{name} {value:.4f}" for name, value in scalars.items())
        self.console.print(f"step {self.step:>6}  {self.eval_split}: {text}", highlight=False)
        self.save(scalars)

    def evaluates(self) -> bool:
        """Returns whether an evaluation is due behind the steps taken."""
        every = self.config.steps_between_evaluations(self.train_size)
        return self.step == self.total_steps or self.step % every == 0

    def train(self, interruption: Interruption) -> None:
        """Runs the remaining steps, and first the evaluation in which the run was stopped."""
        config = self.config
        stopped = self.step in self.store.steps and not self.store.has_metrics(self.step)
        if stopped and self.evaluates():
            self.evaluate(interruption)
        waiting: collections.deque = collections.deque()
        first_step, mark_step, mark_time = self.step, self.step, time.perf_counter()
        with training_progress(self.console) as progress:
            bar = progress.add_task(
                "training", total=self.total_steps, completed=self.step, loss="-", rate="-"
            )
            while self.step < self.total_steps:
                interruption.check(self.step)
                self.advance(waiting)
                progress.update(bar, completed=self.step)
                evaluates = self.evaluates()
                saves = config.checkpoint_every and self.step % config.checkpoint_every == 0
                if self.step % config.log_every == 0 or evaluates or saves:
                    values = self.collect()  # waits for the device
                    seconds = time.perf_counter() - mark_time
                    rate = (self.step - mark_step) * config.batch_size / seconds
                    if mark_step > first_step:
                        self.rates.append(rate)  # the first stretch holds the compilation
                    self.folder.log(self.step, "train", values | {"images_per_second": rate})
                    progress.update(bar, loss=f"{values['loss']:.4f}", rate=f"{rate:,.0f}")
                if evaluates:
                    self.evaluate(interruption)
                elif saves:
                    self.save()
                if self.step % config.log_every == 0 or evaluates or saves:
                    mark_step, mark_time = self.step, time.perf_counter()


def _abstract_batch(
    config: TrainConfig, source: Source, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes, types and shardings of a training batch, by those of one example."""
    example = TrainBatches(source, batch_size=1, steps=1, seed=config.seed, augment=config.augment)
    return {
        name: jax.ShapeDtypeStruct(
            (config.batch_size, *values.shape[1:]),
            jax.dtypes.canonicalize_dtype(values.dtype),
            sharding=batch_sharding(mesh),
        )
        for name, values in example[0].items()
    }


def _way_out(path: pathlib.Path, step: int | None) -> str:
    """Returns what to do with the folder of a run that diverged."""
    if step is None:
        return f"no step was saved: delete {path}, or start again in another folder"
    return (
        f"{path} keeps the last good checkpoint, step {step}: start again with other settings in "
        "another folder, or mend the data and go on from there (--resume)"
    )


def fit(
    config: TrainConfig,
    forward: Forward,
    params: PyTree,
    model_state: PyTree,
    dataset: Dataset,
    run_dir: str | pathlib.Path,
    *,
    task: Task | None = None,
    optimizer: optax.GradientTransformation | None = None,
    teacher: Teacher | None = None,
    eval_split: str = "test",
    resume: bool = False,
    extra: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> FitResult:
    """Trains a network, from its first or its last saved step, and returns the result.

    Args:
      config: How to train.
      forward: The network; see `flax_forward` for Linen modules.
      params: Where to start.
      model_state: Its counterpart.
      dataset: What to train on (split `train`) and to evaluate on.
      run_dir: The run folder, made if missing.
      task: The problem; the data set's with the config's settings if None. Detection and instance
        segmentation have to be given, since they need the network's anchors and sizes (`task_for`).
      optimizer: Instead of the config's, for instance with rates per parameter.
      teacher: A trained network to learn from as well (`distillation_weight`).
      eval_split: The split to evaluate on.
      resume: Go on from the newest checkpoint in `run_dir`, if there is one.
      extra: Further JSON values for `config.json`, such as the model's name.
      console: Where to print; standard output if None.

    Raises:
      ValueError: if the settings do not fit the data, the devices or the run folder, or a batch
        holds what the task cannot mean.
      NonFiniteLossError: if the loss is NaN or infinite; no such state is ever saved.
      KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint is saved.
    """
    console = console or Console(markup=False, emoji=False)  # paths may hold brackets
    task = task or task_for(dataset, config)
    train_source, eval_source = dataset.split("train"), dataset.split(eval_split)
    total_steps = config.total_steps(len(train_source))
    mesh = named_mesh(config.mesh)
    check_batch_size(config.batch_size, mesh, parts=config.accumulate)
    if config.augment.mixes:
        check_mixing(task)
    check_distillation(config, teacher)
    optimizer = optimizer or config_optimizer(config, len(train_source))
    if config.rate_factors:
        path_rates(params, config.rate_factors)  # a wrong pattern, before any work
        optimizer = optax.chain(optimizer, scale_updates(config.rate_factors))
    if config.kept_shares:
        optimizer = optax.chain(optimizer, _thresholding(config, total_steps))
    ema = config.ema_decay is not None
    state, shardings = place_state(params, model_state, optimizer, mesh, seed=config.seed, ema=ema)
    pure_step = config_step(config, forward, task, optimizer, teacher)
    constants = () if teacher is None else teacher.variables
    train_step = compile_train_step(pure_step, mesh, shardings, constants=constants)
    # A teacher or a pattern that does not fit shows when the step is traced: before there is a run.
    train_step.trace(abstract_state(state), _abstract_batch(config, train_source, mesh))
    folder = RunFolder(run_dir, writes=jax.process_index() == 0)
    folder.start(config, {"dataset": dataset.name, **(extra or {})}, resume=resume)
    step = 0
    store = CheckpointStore(
        folder.checkpoints, best_metric=task.best_metric, larger_is_better=task.larger_is_better
    )
    with store, Interruption() as interruption:
        if resume and store.latest_step is not None:
            step, state, _ = store.restore(
                abstract_state(state), on_damage=lambda line: console.print(line, soft_wrap=True)
            )
            console.print(f"resuming at step {step} of {total_steps}")
        batches = iterate(
            TrainBatches(
                train_source,
                batch_size=config.batch_size,
                steps=total_steps,
                seed=config.seed,
                augment=config.augment,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            ),
            start=step,
            workers=config.workers,
        )
        folder.open_logs(step)
        run = _Run(
            config=config,
            forward=forward,
            task=task,
            train_size=len(train_source),
            eval_source=eval_source,
            eval_split=eval_split,
            mesh=mesh,
            train_step=train_step,
            state=state,
            step=step,
            total_steps=total_steps,
            batches=batches,
            store=store,
            folder=folder,
            console=console,
            profiler=StepProfiler(folder.path / "profile", config.profile),
        )
        del state  # the step donates it
        try:
            run.train(interruption)
            if not run.saved_metrics:  # resumed after the last step
                run.evaluate(interruption)
        except NonFiniteLossError as err:
            store.wait()
            raise NonFiniteLossError(f"{err}; {_way_out(folder.path, store.latest_step)}") from err
        except KeyboardInterrupt:
            run.collect()
            run.save()
            store.wait()
            console.print(
                f"stopped after step {run.step} of {total_steps}; the checkpoint is in "
                f"{folder.path}: start it again with resume to go on (the same command, --resume)",
                soft_wrap=True,
            )
            raise
        finally:
            batches.close()
            if config.workers:
                # Batches lie in memory that is shared with the readers. JAX lets go of those that it took from
                # there when Python collects: at the exit it would be too late to give them back.
                gc.collect()
            run.profiler.close()
            folder.close()
    final_params, final_model_state = run.state.inference
    return FitResult(
        state=run.state,
        params=final_params,
        model_state=final_model_state,
        metrics=run.saved_metrics,
        images_per_second=float(np.median(run.rates)) if run.rates else 0.0,
        run_dir=folder.path,
    )
