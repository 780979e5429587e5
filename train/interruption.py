"""Ctrl-C and SIGTERM during training: noticed at once, raised where the state is whole."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Holds back SIGINT and SIGTERM until `check` is called.

    A step consumes the state that it is given, so an exception between its call and the
    assignment of its result would lose both. A second signal does not wait.
    """

    def __init__(self) -> None:
        self._pending = False
        self._previous: dict[int, object] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._pending:
            raise KeyboardInterrupt
        self._pending = True

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has arrived."""
        if self._pending:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        """Takes over the signals; outside the main thread Python allows none, so nothing."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
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
