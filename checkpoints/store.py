"""Checkpoints of a run: state and data position together, through Orbax.

A checkpoint is written beside its final place and renamed, so a killed run leaves none that is
half-written. The latest are kept, and the best by one metric.
"""

import gc
import math
import os
import pathlib
import time
import types
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

_ORBAX = os.path.dirname(ocp.__file__)
_LONGEST_WAIT = 10.0  # seconds, for reads of a checkpoint that is not wanted any more


def _let_reads_end() -> None:
    """Waits for reads that Orbax leaves behind, and collects them.

    Where one read of a checkpoint fails, Orbax forgets the others and closes their loop. Each complains when it is
    collected, and it can be only once it has ended: here, not in the midst of a run.
    """
    deadline = time.monotonic() + _LONGEST_WAIT
    while True:
        gc.collect()
        if not any(map(_is_read, gc.get_objects())) or time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _is_read(thing: object) -> bool:
    # By its type: some objects only pretend to have a class, and look it up.
    return type(thing) is types.CoroutineType and thing.cr_code.co_filename.startswith(_ORBAX)


def _everywhere(here: bool) -> bool:
    """Returns whether something holds in all processes of the job; each of them has to ask."""
    return bool(np.all(multihost_utils.process_allgather(np.array(here))))


class CheckpointStore:
    """The checkpoints in one folder, by step. Use as a context manager, or call `close`.

    `save` returns as soon as the values are copied; the files are written in the background.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        best_metric: str = "accuracy",
        larger_is_better: bool = True,
    ):
        self.folder = pathlib.Path(folder).absolute()
        self._best_metric = best_metric
        worst = -math.inf if larger_is_better else math.inf

        def rank(metrics: Mapping[str, float]) -> float:
            return metrics.get(best_metric, worst)

        best = BestN(
            get_metric_fn=rank,
            reverse=not larger_is_better,
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep_latest), best]),
            # Names Orbax's own "best"; what is kept, the policy above decides.
            best_fn=rank,
            best_mode="max" if larger_is_better else "min",
        )
        try:
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_names=("state", "position")
            )
        except OSError as err:
            raise ValueError(
                f"cannot keep checkpoints in {self.folder}: {err}; choose a folder you may write"
            ) from err

    def save(
        self,
        step: int,
        state: PyTree,
        position: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Saves a checkpoint in the background, unless this step has one already.

        One without metrics, of a run that was stopped while it was evaluated, makes way for one with them.

        Args:
          step: Its name.
          state: A pytree of arrays.
          position: Where the data stands, as JSON values.
          metrics: Evaluation numbers; without the best metric it cannot become the best.

        Returns:
          Whether a checkpoint was written.
        """
        if step in self.steps:
            self.wait()  # one that is being written has no metrics yet
            if not metrics or self.has_metrics(step):
                return False
            self._manager.delete(step)
        return self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(dict(position))
            ),
            metrics=dict(metrics or {}),
        )

    def restore(
        self,
        abstract_state: PyTree,
        step: int | None = None,
        *,
        on_damage: Callable[[str], None] = warnings.warn,
    ) -> tuple[int, PyTree, dict[str, Any]]:
        """Returns the step, the state and the data position of a checkpoint.

        A newest checkpoint that cannot be read is set aside, beside the folder, where an older one
        can be: whatever made it unreadable, the run goes on from the one before.

        Args:
          abstract_state: Shapes, dtypes and shardings to restore into
            (`jax.ShapeDtypeStruct` leaves); the mesh may differ from the one that saved.
          step: Which one; the latest that can be read if None.
          on_damage: Takes one line for each checkpoint that was set aside.

        Raises:
          ValueError: if there is no such checkpoint, or it does not fit `abstract_state`.
        """
        wanted = self.steps[::-1] if step is None else [s for s in self.steps if s == step]
        if not wanted:
            raise ValueError(
                f"no checkpoint {'' if step is None else step} in {self.folder}: "
                f"there is {', '.join(map(str, self.steps)) or 'none'}"
            )
        failures: dict[int, str] = {}
        for candidate in wanted:
            restored = self._try(candidate, abstract_state, failures)
            if restored is None:
                continue
            for damaged, reason in failures.items():
                on_damage(self._set_aside(damaged, candidate, reason))
            return candidate, restored["state"], restored["position"]
        newest = next(iter(failures))
        raise ValueError(
            f"checkpoint {newest} in {self.folder} does not fit this run: {failures[newest]}; use the "
            "model and the config that wrote it"
        )

    def _try(self, step: int, abstract_state: PyTree, failures: dict[int, str]) -> Any:
        """Returns what a checkpoint holds, or None, with the reason among the failures.

        In a job of several processes none takes a checkpoint that another cannot read.
        """
        restored = None
        try:
            restored = self._read(step, abstract_state)
        except Exception as err:  # Orbax raises bare ones for damaged files
            failures[step] = f"{type(err).__name__}: {' '.join(str(err).split())[:2000]}"
        if _everywhere(step not in failures):
            return restored
        failures.setdefault(step, "another process of the job cannot read it")
        _let_reads_end()
        return None

    def _read(self, step: int, abstract_state: PyTree) -> Any:
        return self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract_state),
                position=ocp.args.JsonRestore(),
            ),
        )

    def _set_aside(self, damaged: int, instead: int, reason: str) -> str:
        """Moves a checkpoint out of the folder, so that its step can be saved again; returns what to say."""
        place = self.folder.with_name(f"{self.folder.name}_damaged")
        if jax.process_index() == 0:
            place.mkdir(exist_ok=True)
            target = place / f"{damaged}"
            while target.exists():
                target = target.with_name(f"{target.name}_")
            (self.folder / f"{damaged}").rename(target)
        multihost_utils.sync_global_devices(f"checkpoint {damaged} is set aside")
        self._manager.reload()
        return (
            f"checkpoint {damaged} cannot be read ({reason[:200]}): going on from checkpoint {instead}; "
            f"what is left of it is in {place}"
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have a checkpoint, ascending."""
        return tuple(sorted(self._manager.all_steps()))

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return max(self.steps, default=None)

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint by the metric, or None if none has it."""
        best = self._manager.best_step()
        known = best is not None and self._best_metric in (self._manager.metrics(best) or {})
        return best if known else None

    def has_metrics(self, step: int) -> bool:
        """Returns whether there is a checkpoint of a step that knows its evaluation."""
        return step in self.steps and bool(self._manager.metrics(step))

    def wait(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until everything is on disk, then lets the folder go."""
        self._manager.close()

    def __enter__(self) -> Self:
        """Returns the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the store."""
        self.close()
