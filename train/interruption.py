"""Ctrl-C and SIGTERM during training: noticed at once, raised where the state is whole."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

import jax
from jax.experimental import multihost_utils


class Preempted(KeyboardInterrupt):
    """SIGTERM: the machine is taken away, and nothing went wrong."""

    exit_code = 0


class Interruption:
    """Holds back SIGINT and SIGTERM until `check` is called.

    A step consumes the state that it is given, so an exception between its call and the
    assignment of its result would lose both. A second signal does not wait.

    In a job of several processes all must stop behind the same step. There JAX takes SIGTERM, on whichever
    host, and agrees on the step; SIGINT ends the process as ever.
    """

    def __init__(self) -> None:
        self._pending: type[KeyboardInterrupt] | None = None
        self._alone = jax.process_count() == 1
        self._previous: dict[int, object] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        kind = Preempted if number == signal.SIGTERM else KeyboardInterrupt
        if self._pending:
            raise kind
        self._pending = kind

    def check(self, step: int | None = None) -> None:
        """Raises KeyboardInterrupt, or `Preempted`, if a signal has arrived.

        Args:
          step: Steps taken; None where the processes of a job cannot stop together.
        """
        if self._pending:
            raise self._pending
        if self._alone or step is None:
            return
        if multihost_utils.reached_preemption_sync_point(step):
            raise Preempted

    def __enter__(self) -> Self:
        """Takes over the signals; outside the main thread Python allows none, so nothing."""
        if self._alone and threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what `signal` returned
