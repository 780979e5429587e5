"""Metrics as monoids: `empty()` is neutral, `merge` is associative, `compute` ends.

Each is a pytree of sums, so it lives on the device, passes through `jax.jit` and is global
under a sharded batch. A weight of 0 in `mask` leaves an example out. `compute` is for the host,
outside of `jax.jit`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int, Integer

_CALIBRATION_BINS = 15
_LIMB_BITS = 30
_NEVER = np.iinfo(np.int32).max


class Metric(Protocol):
    """What every metric offers."""

    def merge(self, other: Self) -> Self:
        """Returns the metric of both parts."""
        ...

    def compute(self) -> Array | np.ndarray | Mapping[str, np.ndarray]:
        """Returns the value, or several by name."""
        ...


class _Sums:
    """Metrics whose parts merge by addition."""

    def merge(self, other: Self) -> Self:
        """Returns the metric of both parts."""
        return jax.tree.map(jnp.add, self, other)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean(_Sums):
    """The mean of one value per example; NaN when no example was seen."""

    total: Float[Array, ""]
    count: Float[Array, ""]

    @classmethod
    def empty(cls) -> "Mean":
        """Returns the mean of nothing."""
        return cls(jnp.float32(0), jnp.float32(0))

    @classmethod
    def of(cls, values: Float[Array, " b"], mask: Float[Array, " b"] | None = None) -> "Mean":
        """Returns the mean over the examples of one batch."""
        mask = jnp.ones(values.shape, jnp.float32) if mask is None else mask
        # `where`, not a product: a filling row may hold NaN.
        values = jnp.where(mask > 0, values.astype(jnp.float32), jnp.float32(0))
        return cls((values * mask).sum(), mask.sum())

    def compute(self) -> Array:
        """Returns the mean."""
        return self.total / self.count


def top_k_accuracy(
    logits: Float[Array, "b k"],
    labels: Int[Array, " b"],
    k: int,
    mask: Float[Array, " b"] | None = None,
) -> Mean:
    """Returns the share of examples whose label is among the k largest logits.

    Ties go against the network except where the label comes first, so equal logits score as a
    constant answer would. With fewer than k classes every finite example is right.
    """
    label_logits = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    before = jnp.arange(logits.shape[-1])[None, :] < labels[:, None]
    ahead = (logits > label_logits) | ((logits == label_logits) & before)
    right = (ahead.sum(-1) < k) & jnp.isfinite(label_logits[:, 0])
    return Mean.of(right.astype(jnp.float32), mask)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CalibrationError(_Sums):
    """Expected calibration error over 15 equal bins of confidence.

    Guo et al., "On calibration of modern neural networks", equation 3.
    """

    confidence: Float[Array, " bins"]
    right: Float[Array, " bins"]
    count: Float[Array, " bins"]

    @classmethod
    def empty(cls) -> "CalibrationError":
        """Returns the error of nothing."""
        zeros = jnp.zeros(_CALIBRATION_BINS, jnp.float32)
        return cls(zeros, zeros, zeros)

    @classmethod
    def of(
        cls,
        logits: Float[Array, "b k"],
        labels: Int[Array, " b"],
        mask: Float[Array, " b"] | None = None,
    ) -> "CalibrationError":
        """Returns the bins of one batch."""
        mask = jnp.ones(labels.shape, jnp.float32) if mask is None else mask
        confidence = jax.nn.softmax(logits.astype(jnp.float32)).max(-1)
        right = (logits.argmax(-1) == labels).astype(jnp.float32)
        # Bins are open below and closed above, as in the paper.
        index = jnp.ceil(confidence * _CALIBRATION_BINS).astype(jnp.int32) - 1
        weights = jax.nn.one_hot(jnp.clip(index, 0), _CALIBRATION_BINS) * mask[:, None]  # [b, bins]
        return cls(confidence @ weights, right @ weights, weights.sum(0))

    def compute(self) -> Array:
        """Returns the mean distance of confidence and accuracy, from 0 to 1."""
        return jnp.abs(self.confidence - self.right).sum() / self.count.sum()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts of (true class, predicted class), of examples or of pixels; exact up to 2^61.

    A count is `high * 2^30 + low`: float32 stops counting at 2^24, and a data set of pixels
    passes 2^31. One batch may hold 2^30 pixels.
    """

    low: Int[Array, "k k"]
    high: Int[Array, "k k"]

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Returns a matrix of zeros."""
        zeros = jnp.zeros((num_classes, num_classes), jnp.int32)
        return cls(zeros, zeros)

    @classmethod
    def of(
        cls,
        logits: Float[Array, "b ... k"],
        labels: Integer[Array, "b ..."],
        mask: Float[Array, " b"] | None = None,
    ) -> Self:
        """Returns the counts of one batch; what has the largest logit is predicted."""
        return cls.of_predictions(logits.argmax(-1), labels, logits.shape[-1], mask)

    @classmethod
    def of_predictions(
        cls,
        predictions: Integer[Array, "b ..."],
        labels: Integer[Array, "b ..."],
        num_classes: int,
        mask: Float[Array, " b"] | None = None,
    ) -> Self:
        """Returns the counts of one batch, from predicted ids of 0 to `num_classes - 1`.

        Labels that are no class, such as `IGNORE`, are left out, and so is what stands at them.
        """
        labels, predictions = labels.astype(jnp.int32), predictions.astype(jnp.int32)
        counted = (labels >= 0) & (labels < num_classes)
        if mask is not None:
            counted &= (mask > 0).reshape(-1, *[1] * (labels.ndim - 1))
        cell = jnp.where(counted, labels * num_classes + predictions, 0)
        low = jnp.zeros(num_classes**2, jnp.int32).at[cell].add(counted.astype(jnp.int32))
        low = low.reshape(num_classes, num_classes)
        return cls(low, jnp.zeros_like(low))

    def merge(self, other: Self) -> Self:
        """Returns the counts of both parts."""
        low = self.low + other.low
        carry = low >> _LIMB_BITS
        return type(self)(low - (carry << _LIMB_BITS), self.high + other.high + carry)

    def counts(self) -> Int[np.ndarray, "k k"]:
        """Returns the counts on the host; rows are true classes, columns predictions."""
        low, high = (np.asarray(limb).astype(np.int64) for limb in (self.low, self.high))
        return (high << _LIMB_BITS) + low

    def compute(self) -> np.ndarray:
        """Returns the counts; rows are true classes, columns predictions."""
        return self.counts()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FirstNonFinite:
    """The first step whose value was not finite; merges by the smaller step."""

    step: Int[Array, ""]

    @classmethod
    def empty(cls) -> "FirstNonFinite":
        """Returns: never."""
        return cls(jnp.int32(_NEVER))

    @classmethod
    def of(cls, value: Float[Array, ""], step: Int[Array, ""]) -> "FirstNonFinite":
        """Returns `step` if the value is NaN or infinite."""
        return cls(jnp.where(jnp.isfinite(value), jnp.int32(_NEVER), step))

    def merge(self, other: "FirstNonFinite") -> "FirstNonFinite":
        """Returns the earlier of both."""
        return FirstNonFinite(jnp.minimum(self.step, other.step))

    def compute(self) -> Array:
        """Returns the step, or -1 for never."""
        return jnp.where(self.step == _NEVER, jnp.int32(-1), self.step)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Collected:
    """Metrics that are no sums: what was seen is kept, on the host, until the last batch.

    Inside a step there is one part; `on_host` takes it there, and `merge` makes the list longer, so
    merging is never compiled.

    Attributes:
      parts: Of each batch, arrays by name with a leading axis of examples.
    """

    parts: tuple[Mapping[str, Any], ...]

    def on_host(self) -> Self:
        """Returns the metric with its arrays on the host, those of all hosts."""
        if jax.process_count() == 1:
            return dataclasses.replace(self, parts=jax.device_get(self.parts))
        gathered = multihost_utils.process_allgather(self.parts, tiled=True)
        return dataclasses.replace(self, parts=gathered)

    def merge(self, other: Self) -> Self:
        """Returns the metric of both parts."""
        return dataclasses.replace(self, parts=(*self.parts, *other.parts))

    def rows(self) -> dict[str, np.ndarray]:
        """Returns the arrays of all batches, one behind the other."""
        return {
            name: np.concatenate([np.asarray(part[name]) for part in self.parts])
            for name in self.parts[0]
        }


Metrics = dict[str, Metric]


class MetricTotals:
    """Metrics of batch after batch: sums stay on the device, what is collected goes to the host."""

    def __init__(self) -> None:
        self._sums: Metrics | None = None
        self._collected: Metrics | None = None
        self._names: tuple[str, ...] = ()

    def add(self, metrics: Mapping[str, Metric]) -> None:
        """Takes the metrics of one batch."""
        self._names = tuple(metrics)
        sums = {name: m for name, m in metrics.items() if not isinstance(m, Collected)}
        kept: Metrics = {n: m.on_host() for n, m in metrics.items() if isinstance(m, Collected)}
        self._sums = sums if self._sums is None else _merge_compiled(self._sums, sums)
        self._collected = kept if self._collected is None else merge_metrics(self._collected, kept)

    def compute(self) -> dict[str, float | np.ndarray]:
        """Returns the values on the host.

        Raises:
          ValueError: if there was no batch.
        """
        if self._sums is None or self._collected is None:
            raise ValueError("no batch was measured: give a split with examples")
        total = self._sums | self._collected
        return compute_metrics({name: total[name] for name in self._names})


def merge_metrics(first: Mapping[str, Metric], second: Mapping[str, Metric]) -> Metrics:
    """Returns the metrics of both parts, name by name."""
    return {name: metric.merge(second[name]) for name, metric in first.items()}


_merge_compiled = jax.jit(merge_metrics)


def compute_metrics(metrics: Mapping[str, Metric]) -> dict[str, float | np.ndarray]:
    """Returns the values on the host: numbers, and arrays where a metric is one.

    What a metric gives by name stands under those names, in the place of its own.
    """
    computed: dict[str, Any] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        computed |= value if isinstance(value, Mapping) else {name: value}
    values = jax.device_get(computed)
    return {name: value.item() if value.ndim == 0 else value for name, value in values.items()}
