"""Score calibration of TFLite Metadata: sigmoids that an app puts over a network's scores, one per class.

With them a score is the share of answers of that score that are right, so one threshold means the same for all
classes. The formula and the file are those of `ScoreCalibrationOptions` in metadata_schema.fbs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Transformation = Literal["identity", "log", "inverse_logistic"]

_SMALLEST = 1e-16  # below it MediaPipe bends the logarithm
_STEPS = 50  # of Newton's method; some ten are enough
_SMALL_CHANGE = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """What becomes of the scores of one class, scale / (1 + exp(-(slope * g(score) + offset))).

    Attributes:
      scale: Not negative.
      slope: Of g(score).
      offset: Likewise.
      min_score: Below it the class gets `ScoreCalibration.default_score`.
    """

    scale: float = 1.0
    slope: float = 1.0
    offset: float = 0.0
    min_score: float | None = None

    def __post_init__(self) -> None:
        """Refuses what no reader takes."""
        if not np.all(np.isfinite(self.values)):
            raise ValueError(f"{self} has numbers that are not finite: fit it again")
        if self.scale < 0:
            raise ValueError(f"scale is {self.scale}: give 0 or more")

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers of its line."""
        least = () if self.min_score is None else (self.min_score,)
        return (self.scale, self.slope, self.offset, *least)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreCalibration:
    """A sigmoid for every class.

    Attributes:
      sigmoids: In the order of the class names; a class with None always gets `default_score`.
      transformation: g: the score itself, its logarithm, or the logarithm of score / (1 - score).
      default_score: Of classes without a sigmoid, and of scores below `Sigmoid.min_score`.
    """

    sigmoids: tuple[Sigmoid | None, ...]
    transformation: Transformation = "inverse_logistic"
    default_score: float = 0.0

    @classmethod
    def fit(
        cls, scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
    ) -> "ScoreCalibration":
        """Returns the sigmoids under which images have their labels most likely, each class against the rest.

        Platt, "Probabilistic outputs for support vector machines" (1999), on the inverse logistic of the scores,
        with targets that keep a class of few images from certainty. A class that no image has, or all have,
        keeps its scores.

        Args:
          scores: Probabilities of the classes.
          labels: Right classes, of images that the network was not trained on.

        Raises:
          ValueError: if there are no images, scores are no probabilities, or a label has no score.
        """
        scores, labels = np.asarray(scores, np.float32), np.asarray(labels)
        if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
            raise ValueError(
                f"scores {scores.shape} and labels {labels.shape}: give one row and one label for each of at "
                "least one image"
            )
        if not np.all((scores >= 0) & (scores <= 1)):
            raise ValueError("scores are not all from 0 to 1: give probabilities, not logits")
        classes = scores.shape[1]
        if bad := sorted({int(label) for label in labels if not 0 <= label < classes}):
            raise ValueError(f"label {bad[0]} has no score among {classes}: give the right data")
        logits = _inverse_logistic(scores)
        return cls(
            sigmoids=tuple(_platt(logits[:, k], labels == k) for k in range(classes)),
        )

    @classmethod
    def parse(
        cls, text: str, *, transformation: Transformation, default_score: float = 0.0
    ) -> "ScoreCalibration":
        """Returns what a file of one line per class says: nothing, or 3 or 4 numbers with commas between.

        A newline at the end begins one more line, as MediaPipe reads it.

        Raises:
          ValueError: if a line says anything else; names it.
        """
        sigmoids: list[Sigmoid | None] = []
        for number, cells in enumerate((line.split(",") for line in text.split("\n")), start=1):
            if not "".join(cells).strip():
                sigmoids.append(None)
                continue
            try:
                values = [float(cell) for cell in cells]
                if len(values) not in (3, 4):
                    raise ValueError(f"{len(values)} numbers")
                scale, slope, offset, *least = values
                sigmoids.append(
                    Sigmoid(
                        scale=scale,
                        slope=slope,
                        offset=offset,
                        min_score=least[0] if least else None,
                    )
                )
            except ValueError as err:
                raise ValueError(
                    f"line {number} of the score calibration, {','.join(cells)!r}: {err}; give scale, slope, offset "
                    "and perhaps the least score, or nothing"
                ) from err
        return cls(
            sigmoids=tuple(sigmoids), transformation=transformation, default_score=default_score
        )

    @property
    def text(self) -> str:
        """The file, as `parse` takes it."""
        lines = (
            "" if sigmoid is None else ",".join(f"{value:.9g}" for value in sigmoid.values)
            for sigmoid in self.sigmoids
        )
        return "\n".join(lines)

    def __call__(self, scores: Float[np.ndarray, "*b k"]) -> Float[np.ndarray, "*b k"]:
        """Returns scores as the app shows them, float32.

        Raises:
          ValueError: if there are more or fewer classes than sigmoids.
        """
        scores = np.asarray(scores, np.float32)
        if scores.shape[-1:] != (len(self.sigmoids),):
            raise ValueError(
                f"scores of shape {scores.shape} and {len(self.sigmoids)} sigmoids: give one of each class"
            )
        known = [sigmoid or Sigmoid() for sigmoid in self.sigmoids]
        scale, slope, offset = (
            np.asarray([s.values[i] for s in known], np.float32) for i in range(3)
        )
        # In the app's type: a score at the limit is not below it.
        least = np.asarray(
            [-np.inf if s.min_score is None else s.min_score for s in known], np.float32
        )
        used = np.asarray([s is not None for s in self.sigmoids]) & (scores >= least)
        found = scale * _logistic(slope * self._transformed(scores) + offset)
        return np.where(used, found, np.float32(self.default_score)).astype(np.float32)

    def _transformed(self, scores: np.ndarray) -> np.ndarray:
        if self.transformation == "identity":
            return scores
        return _logarithm(scores) if self.transformation == "log" else _inverse_logistic(scores)


def _logarithm(values: np.ndarray) -> np.ndarray:
    """Returns logarithms, that of 0 being finite, as MediaPipe has them."""
    values = values.astype(np.float64)
    bent = 2 * np.log(_SMALLEST) - np.log(2 * _SMALLEST - np.minimum(values, _SMALLEST))
    plain = np.log(np.maximum(values, _SMALLEST))
    return np.where(values < _SMALLEST, bent, plain).astype(np.float32)


def _inverse_logistic(scores: np.ndarray) -> np.ndarray:
    return _logarithm(scores) - _logarithm(np.float32(1) - scores)


def _logistic(values: np.ndarray) -> np.ndarray:
    powers = np.exp(-np.abs(values))
    return np.where(values >= 0, 1, powers) / (1 + powers)


def _platt(logits: Float[np.ndarray, " n"], right: np.ndarray) -> Sigmoid:
    """Returns the logistic regression of being right, by Newton's method with steps that only improve."""
    count, total = int(right.sum()), len(right)
    if count in (0, total):
        return Sigmoid()
    targets = np.where(right, (count + 1) / (count + 2), 1 / (total - count + 2))
    columns = np.stack([logits.astype(np.float64), np.ones(total)], 1)

    def loss(weights: np.ndarray) -> float:
        values = columns @ weights
        return float(np.mean(np.logaddexp(0, values) - targets * values))

    weights = np.asarray([1.0, 0.0])
    best = loss(weights)
    for _ in range(_STEPS):
        shares = _logistic(columns @ weights)
        gradient = columns.T @ (shares - targets) / total
        curvature = (columns * (shares * (1 - shares))[:, None]).T @ columns / total
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        size = 1.0
        while (found := loss(weights - size * step)) > best and size > _SMALL_CHANGE:
            size /= 2
        if best - found < _SMALL_CHANGE:
            break
        weights, best = weights - size * step, found
    return Sigmoid(slope=float(weights[0]), offset=float(weights[1]))


def check_classes(calibration: ScoreCalibration, names: Sequence[str]) -> None:
    """Raises ValueError unless there is a line for every name."""
    if len(calibration.sigmoids) != len(names):
        raise ValueError(
            f"the score calibration has {len(calibration.sigmoids)} lines, there are {len(names)} classes: "
            "give one of each"
        )
