"""How long files take in LiteRT on this machine, one against the other.

A machine's speed changes from second to second. So two files take turns, each round in another order, on one
core, and what is told is the median of the ratios of rounds of either order, with its spread. Time is the process's own on that
core, so that others that want it too do not count.
"""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from attokit.export import inspection, interpreters
from attokit.export.random_inputs import random_input
from attokit.quant.ops.kind import Kernels

_SHORTEST = 0.002  # seconds of one measurement: faster files run several times in it, as often each
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
      ratio: Of the first to the second, by rounds of either order; None for one file.
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
      rounds: Measurements of each; of two files an even number, half of them with the second loaded first.

    Raises:
      ValueError: if there are not one or two files, one is damaged, or rounds is not positive.
    """
    if len(files) not in (1, 2):
        raise ValueError(f"{len(files)} files: give one, or two to compare")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}: give at least 1")
    order = list(range(len(files)))
    with pinned():
        if len(files) == 1 or rounds == 1:
            times = _measure(files, kernels, rounds, order)[None]
        else:
            half = math.ceil(rounds / 2)
            orders = (order, order[::-1])
            times = np.stack([_measure(files, kernels, half, loaded) for loaded in orders])
    every = times.reshape(-1, len(files))
    return Benchmark(
        kernels=kernels,
        seconds=tuple(Timing.of(column) for column in every.T),
        ratio=Timing.of(_ratios(times)) if len(files) == 2 else None,
        rounds=len(every),
    )


def _measure(
    files: Sequence[str | os.PathLike[str] | bytes],
    kernels: Kernels,
    rounds: int,
    order: Sequence[int],
) -> Float[np.ndarray, "rounds files"]:
    """Returns seconds of files that are loaded in an order and then take turns."""
    loaded = {j: _Run(files[j], kernels) for j in order}
    repeats = max(math.ceil(_SHORTEST / max(run.seconds(1), 1e-9)) for run in loaded.values())
    times = np.zeros((rounds, len(files)))
    for i in range(rounds):
        for j in order if i % 2 == 0 else reversed(order):
            times[i, j] = loaded[j].seconds(repeats)
    return times


def _ratios(times: Float[np.ndarray, "orders rounds 2"]) -> Float[np.ndarray, " pairs"]:
    """Returns the ratios of each round and the next, in both orders of loading, taken together.

    A file that follows itself finds its data in the cache, and the one that is loaded first has
    other places in memory: a round alone favours one of them, by a few percent.
    """
    rounds = times.sum(0)
    pairs = rounds[:-1] + rounds[1:] if len(rounds) > 1 else rounds
    return pairs[:, 0] / pairs[:, 1]


class _Run:
    """A file in its runtime, with inputs of its own shapes, ready to be timed."""

    def __init__(self, file: str | os.PathLike[str] | bytes, kernels: Kernels):
        data, name = inspection.read(file)
        info = inspection.inspect(file)
        random = np.random.default_rng(0)
        self._inputs = [random_input(t, t.shape, random) for t in info.inputs.values()]
        try:
            self._session = interpreters.session(data, info, kernels, threads=1)
            self._session.invoke(self._inputs)  # the first run allocates
        except RuntimeError as err:
            raise ValueError(f"the runtime cannot run {name}: {err}") from err

    def seconds(self, repeats: int) -> float:
        """Returns how long one of several runs takes; the later ones find the caches filled."""
        start = _clock()
        for _ in range(repeats):
            self._session.invoke(self._inputs)
        return (_clock() - start) / repeats


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
