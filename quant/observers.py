"""What calibration remembers of a tensor: extremes, averages of them, or a histogram."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

_BINS = 2048
_PERCENTILE = 99.99
_DECAY = 0.9
_NARROW = 1e-3


class Observer(Protocol):
    """Collects the values of ranges, in one or several passes over the data.

    Attributes:
      passes: How often it wants to see everything.
    """

    passes: int

    def see(self, name: str, values: np.ndarray) -> None:
        """Takes in values of one batch."""

    def next_pass(self) -> None:
        """Is told that all batches were seen once."""

    def range(self, name: str, bits: int = 8) -> tuple[float, float]:
        """Returns (low, high) of what the range is to cover by integers of so many bits."""


class MinMax:
    """Covers every value seen."""

    passes = 1

    def __init__(self) -> None:
        self._extremes: dict[str, tuple[float, float]] = {}

    def see(self, name: str, values: np.ndarray) -> None:
        """Widens the range."""
        low, high = self._extremes.get(name, (np.inf, -np.inf))
        self._extremes[name] = (min(low, float(values.min())), max(high, float(values.max())))

    def next_pass(self) -> None:
        """Does nothing: one pass is all."""

    def range(self, name: str, bits: int = 8) -> tuple[float, float]:
        """Returns the extremes; (0, 0) of what never had a value that counts."""
        del bits
        return self._extremes.get(name, (0.0, 0.0))


class MovingAverage(MinMax):
    """Exponential average of each batch's extremes; later batches weigh more."""

    def see(self, name: str, values: np.ndarray) -> None:
        """Moves the range toward this batch's."""
        low, high = float(values.min()), float(values.max())
        if name in self._extremes:
            old_low, old_high = self._extremes[name]
            low = _DECAY * old_low + (1 - _DECAY) * low
            high = _DECAY * old_high + (1 - _DECAY) * high
        self._extremes[name] = (low, high)


class _Histogram(MinMax):
    """Extremes in the first pass, counts of equal bins between them in the second."""

    passes = 2

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, np.ndarray] = {}
        self._second = False

    def see(self, name: str, values: np.ndarray) -> None:
        """Widens the range, or counts."""
        if not self._second:
            super().see(name, values)
            return
        low, high = self._extremes[name]
        if high - low < _NARROW * max(abs(low), abs(high)):
            return  # all but constant: nothing to leave out, and bins that float32 cannot tell
        counts, _ = np.histogram(values, _BINS, (low, high))
        self._counts[name] = self._counts.get(name, 0) + counts

    def next_pass(self) -> None:
        """Turns to counting."""
        self._second = True

    def _edges(self, name: str) -> np.ndarray:
        return np.linspace(*self._extremes[name], _BINS + 1)


class Percentile(_Histogram):
    """Covers all but the outermost 0.01 % on each side."""

    def range(self, name: str, bits: int = 8) -> tuple[float, float]:
        """Returns the percentiles, by the histogram."""
        if name not in self._counts:
            return super().range(name, bits)
        edges, share = self._edges(name), np.cumsum(self._counts[name])
        share = share / share[-1]
        outside = 1 - _PERCENTILE / 100
        low = edges[np.searchsorted(share, outside, side="right")]
        high = edges[min(int(np.searchsorted(share, 1 - outside)) + 1, _BINS)]
        return float(low), float(high)


class MeanSquaredError(_Histogram):
    """Minimizes the mean squared error of rounding and clipping to int8 or int16.

    Both ends shrink by the same factor, which is searched in steps of 1 %.
    """

    def range(self, name: str, bits: int = 8) -> tuple[float, float]:
        """Returns the extremes, shrunk by the best factor."""
        low, high = super().range(name, bits)
        low, high = min(low, 0.0), max(high, 0.0)
        if low == high or name not in self._counts:
            return low, high
        edges = self._edges(name)
        centres, counts = (edges[:-1] + edges[1:]) / 2, self._counts[name]
        errors = {}
        for factor in np.linspace(0.3, 1.0, 71):
            step = factor * (high - low) / (2**bits - 1)
            rounded = np.round(np.clip(centres, factor * low, factor * high) / step) * step
            errors[factor] = float(np.sum(counts * (centres - rounded) ** 2))
        best = min(errors, key=lambda factor: (errors[factor], -factor))
        return best * low, best * high


OBSERVERS: Mapping[str, Callable[[], Observer]] = MappingProxyType(
    {
        "minmax": MinMax,
        "moving_average": MovingAverage,
        "percentile": Percentile,
        "mse": MeanSquaredError,
    }
)
