"""Records some steps of a run for a profiler (XProf, TensorBoard's profile page, Perfetto)."""

import pathlib

import jax

_FIRST = 2  # the first step compiles, the second fills the queues


class StepProfiler:
    """Records steps of a run into a folder; does nothing without a number of steps.

    Attributes:
      folder: Where the recording is written.
    """

    def __init__(self, folder: pathlib.Path, steps: int | None):
        self.folder = folder
        self._left = steps or 0
        self._waiting = _FIRST
        self._runs = False

    def before_step(self) -> None:
        """Starts the recording when the third step is about to begin."""
        if self._left and not self._runs:
            if self._waiting:
                self._waiting -= 1
                return
            jax.profiler.start_trace(str(self.folder))
            self._runs = True

    def after_step(self, results: object) -> bool:
        """Ends the recording behind the last step that was asked for; returns whether it did."""
        if not self._runs:
            return False
        self._left -= 1
        if self._left:
            return False
        jax.block_until_ready(results)
        self.close()
        return True

    def close(self) -> None:
        """Writes what was recorded, if a recording is running."""
        if self._runs:
            self._runs, self._left = False, 0
            jax.profiler.stop_trace()
