"""How long files take in LiteRT on this machine, one against the other.

A machine's speed changes from second to second. So two files take turns, each round in another order, on one
core, and what is told is the median of the rounds' ratios, with its spread. Time is the process's own on that
core, so that others that want it too do not count.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator

import numpy as np

from attokit.export import inspection, interpreters
from attokit.export.anatomy import TensorInfo
from attokit.quant.ops.kind import Kernels

_SHORTEST = 0.002  # seconds of one measurement: faster files run several times in it
_QUARTILES = (25, 50, 75)
# One thread never waits, so its time is the run's; Windows tells it in steps of 16 ms.
_clock = time.perf_counter if os.name == "nt" else time.process_time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one run: the median over rounds, and the quartiles around it."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Timing":
        """Returns the quartiles of measurements."""
        lower, median, upper = (float(v) for v in np.percentile(values, _QUARTILES))
        return cls(lower=lower, median=median, upper=upper)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Files, timed.

    Attributes:
      kernels: Whose runtime.
      seconds: Of each file.
      ratio: Of the first to the second, by rounds; None for one file.
      rounds: How many.
    """

    kernels: Kernels
    seconds: tuple[Timing, ...]
    ratio: Timing | None
    rounds: int

    def __str__(self) -> str:
        texts = [
            f"{1e3 * t.median:.3f} ms ({1e3 * t.lower:.3f} to {1e3 * t.upper:.3f})"
            for t in self.seconds
        ]
        line = f"{self.kernels:10} " + "   ".join(texts)
        if self.ratio is not None:
            r = self.ratio
            line += f"   ratio {r.median:.3f} ({r.lower:.3f} to {r.upper:.3f})"
        return f"{line}   [{self.rounds} rounds, middle half in brackets]"


def benchmark(
    *files: str | os.PathLike[str] | bytes, kernels: Kernels = "xnnpack", rounds: int = 50
) -> Benchmark:
    """Returns how long one file takes, or two against each other; one thread, on one core.

    Args:
      *files: One or two paths or contents.
      kernels: "xnnpack" (LiteRT as it comes), "reference" or "micro".
      rounds: Measurements of each.

    Raises:
      ValueError: if there are not one or two files, one is damaged, or rounds is not positive.
    """
    if len(files) not in (1, 2):
        raise ValueError(f"{len(files)} files: give one, or two to compare")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}: give at least 1")
    with pinned():
        runs = [_Run(file, kernels) for file in files]
        times = np.zeros((rounds, len(runs)))
        for i in range(rounds):
            for j in range(len(runs)) if i % 2 == 0 else reversed(range(len(runs))):
                times[i, j] = runs[j].seconds()
    ratio = Timing.of(times[:, 0] / times[:, 1]) if len(runs) == 2 else None
    return Benchmark(
        kernels=kernels,
        seconds=tuple(Timing.of(column) for column in times.T),
        ratio=ratio,
        rounds=rounds,
    )


class _Run:
    """A file in its runtime, with inputs of its own shapes, ready to be timed."""

    def __init__(self, file: str | os.PathLike[str] | bytes, kernels: Kernels):
        data, name = inspection.read(file)
        info = inspection.inspect(file)
        self._inputs = [_random(tensor) for tensor in info.inputs.values()]
        try:
            self._session = interpreters.session(data, info, kernels, threads=1)
            self._session.invoke(self._inputs)  # the first run allocates
        except RuntimeError as err:
            raise ValueError(f"the runtime cannot run {name}: {err}") from err
        self._repeats = 1
        self._repeats = max(1, round(_SHORTEST / max(self.seconds(), 1e-9)))

    def seconds(self) -> float:
        """Returns how long one run takes."""
        start = _clock()
        for _ in range(self._repeats):
            self._session.invoke(self._inputs)
        return (_clock() - start) / self._repeats


def _random(tensor: TensorInfo) -> np.ndarray:
    random = np.random.default_rng(0)
    if "float" in tensor.dtype:
        return random.random(tensor.shape, np.float32).astype(tensor.dtype)
    if not tensor.scale.size:
        return np.zeros(tensor.shape, tensor.dtype)  # counts and indices: what every table has
    limits = np.iinfo(tensor.dtype)
    return random.integers(limits.min, limits.max + 1, tensor.shape).astype(tensor.dtype)


@contextlib.contextmanager
def pinned() -> Iterator[int | None]:
    """Keeps this process on one of its cores, where the system can; yields which."""
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    core = max(before)  # the first cores serve interrupts
    try:
        os.sched_setaffinity(0, {core})
    except OSError:  # a container may forbid it
        yield None
        return
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)
