"""How much each op of a graph suffers from 8 bits, and what more bits for it alone would gain."""

import dataclasses
import glob
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from attokit.quant.graph import Graph, Weights, is_quantized
from attokit.quant.groups import has_int16, named_ops, ops_around
from attokit.quant.noise import decibels
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels, Op
from attokit.quant.params import QParams
from attokit.quant.tied_constants import MASK
from attokit.quant.trial import Level, Trial
from attokit.quant.wide import widen

RaisedType = Literal["int16", "float32"]
# What outputs of all batches, nested as the function nests them, are worth: higher is better.
Metric = Callable[[Sequence[Any]], float]
_LEVELS = {"int16": Level.INT16, "float32": Level.REAL}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """How good outputs are.

    Attributes:
      sqnr: Signal to quantization noise in dB: of the mean over outputs of noise by signal.  Of indices and
        conditions noise is the share that differs.
      metric: The caller's metric, or None.
    """

    sqnr: float
    metric: float | None

    @property
    def noise(self) -> float:
        """Noise by signal, which adds up over layers."""
        return 10 ** (-self.sqnr / 10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """One op.

    Attributes:
      name: Of what it makes, by which `quant.widen` and `quant.keep_float` know it.
      kind: Of the op.
      macs: Its multiply-adds.
      alone: Of the outputs if this op alone is quantized.
      raised: Of the outputs if all is quantized but `around`; None if that cannot be.
      around: Names of the ops that have the other type then: this one, and those that read what it makes or
        have its scale.
      why_not: Why it cannot be raised; "" if it can.
    """

    name: str
    kind: str
    macs: int
    alone: Score
    raised: Score | None
    around: tuple[str, ...]
    why_not: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Sensitivity:
    """A graph, swept.

    Attributes:
      graph: Which.
      raise_to: The type that ops are raised to.
      layers: Every quantized op that computes, in execution order; what only moves values is left out.
      quantized: Of the outputs if all is quantized.
      real: If nothing is.
      sweep: What tried it.
    """

    graph: Graph
    raise_to: RaisedType
    layers: tuple[LayerSensitivity, ...]
    quantized: Score
    real: Score
    sweep: "Sweep"


def sensitivity(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    batches: Iterable[Any],
    *,
    raise_to: RaisedType = "int16",
    metric: Metric | None = None,
    kernels: Kernels = "reference",
) -> Sensitivity:
    """Returns how the outputs change if each op alone is quantized, and if it alone has more bits.

    One program is compiled, which takes the types of all ops as an argument; it runs about twice per op over
    all batches.

    Args:
      graph: As traced; what is int16 or float32 in it already stays.
      weights: Of the graph.
      qparams: As calibrated.
      batches: Of inputs, as for `quant.calibrate`; a few dozen examples tell enough.
      raise_to: The type that ops get.
      metric: What outputs of all batches are worth, such as the accuracy; it takes a list with what the graph
        returns for each batch, in NumPy.
      kernels: Whose rounding, and whose kernels for int16.

    Raises:
      ValueError: if there is no such type, or there is no batch, or one that does not fit.
    """
    if raise_to not in _LEVELS:
        raise ValueError(f"raise_to {raise_to!r} is none of {', '.join(_LEVELS)}")
    sweep = Sweep(Trial(graph, weights, qparams, batches, kernels), raise_to, metric)
    names = named_ops(graph)
    layers = []
    for position, op in enumerate(graph.ops):
        if id(op) not in names or table.OPS[op.kind].moves:
            continue
        around = sweep.around(position)
        why_not = _refusal(graph, op, sweep.names(around), kernels) if raise_to == "int16" else ""
        around = () if why_not else around
        layers.append(
            LayerSensitivity(
                name=names[id(op)],
                kind=op.kind,
                macs=table.OPS[op.kind].macs(op, graph.operand_shape),
                alone=sweep.alone(position),
                raised=sweep.raised(around) if around else None,
                around=sweep.names(around),
                why_not=why_not,
            )
        )
    return Sensitivity(
        graph=graph,
        raise_to=raise_to,
        layers=tuple(layers),
        quantized=sweep.raised(()),
        real=sweep.real(),
        sweep=sweep,
    )


def _refusal(graph: Graph, op: Op, names: Sequence[str], kernels: Kernels) -> str:
    """Returns why an op cannot have 16 bits with those around it, or ""."""
    if not has_int16(op, kernels):
        return f"no runtime of the kernels {kernels!r} has {op.kind} for int16"
    try:
        widen(graph, [glob.escape(name) for name in names])
    except ValueError as err:
        return str(err)
    return ""


class Sweep:
    """Scores a graph with some of its ops in another type; asked twice, it remembers."""

    def __init__(self, trial: Trial, raise_to: RaisedType, metric: Metric | None):
        """Takes what runs the graph."""
        self._trial, self._metric, self._level = trial, metric, _LEVELS[raise_to]
        self._reference = trial.outputs({}, Level.REAL, Level.REAL)
        self._known: dict[frozenset[int], Score] = {}
        self._kernels = trial.kernels

    def around(self, position: int) -> tuple[int, ...]:
        """Returns the positions of the ops that are raised for the sake of one, changes of scale included."""
        graph = self._trial.graph
        positions = {id(op): i for i, op in enumerate(graph.ops)}
        around = ops_around(graph, graph.ops[position].outputs[0])
        fixed = {id(op) for op in graph.float_ops}
        return tuple(
            positions[id(op)]
            for op in around
            if id(op) not in fixed
            and (self._level is Level.REAL or op.kind == "quantize" or has_int16(op, self._kernels))
        )

    def names(self, positions: Collection[int]) -> tuple[str, ...]:
        """Returns the names of ops in execution order; changes of scale have none."""
        ops, names = self._trial.graph.ops, named_ops(self._trial.graph)
        return tuple(names[id(ops[i])] for i in sorted(positions) if id(ops[i]) in names)

    def real(self) -> Score:
        """Returns the score of the float graph."""
        return self._score(self._reference)

    def alone(self, position: int) -> Score:
        """Returns the score with one op as it is in the graph and all else in float."""
        return self._score(
            self._trial.outputs({position: Level.GIVEN}, Level.REAL, inputs=Level.REAL)
        )

    def raised(self, positions: Collection[int]) -> Score:
        """Returns the score with some ops raised and all else as it is in the graph."""
        key = frozenset(positions)
        if key not in self._known:
            levels = dict.fromkeys(key, self._level)
            self._known[key] = self._score(self._trial.outputs(levels, Level.GIVEN))
        return self._known[key]

    def gain_apart(self, positions: Collection[int]) -> float:
        """Returns how much noise raising some ops takes when nothing else is quantized."""
        levels = (dict.fromkeys(positions, level) for level in (Level.GIVEN, self._level))
        before, after = (
            _sqnr(self._reference, self._trial.outputs(own, Level.REAL, inputs=Level.REAL))
            for own in levels
        )
        return 10 ** (-before / 10) - 10 ** (-after / 10)

    def _score(self, outputs: list[list[Any]]) -> Score:
        own = [self._trial.graph.result(batch) for batch in outputs] if self._metric else None
        return Score(
            sqnr=_sqnr(self._reference, outputs),
            metric=None if self._metric is None else float(self._metric(own or [])),
        )


def _sqnr(reference: list[list[Any]], outputs: list[list[Any]]) -> float:
    """Returns the SQNR in dB over the outputs of all batches."""
    ratios = []
    for wanted, given in zip(zip(*reference, strict=True), zip(*outputs, strict=True), strict=True):
        pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(wanted, given, strict=True)]
        powers = [_powers(x, y) for x, y in pairs]
        signal, noise = (math.fsum(column) for column in zip(*powers, strict=True))
        ratios.append(noise / signal if signal else float(noise > 0))
    return decibels(1, float(np.mean(ratios))) if ratios else math.inf


def _powers(wanted: np.ndarray, given: np.ndarray) -> tuple[float, float]:
    """Returns the power of the signal and of the noise."""
    if not is_quantized(wanted.dtype):
        return float(wanted.size), float(np.count_nonzero(wanted != given))
    counted = np.isfinite(wanted) & (np.abs(wanted) < MASK)
    signal, noisy = wanted[counted].astype(np.float64), given[counted].astype(np.float64)
    return float(np.sum(signal**2)), float(np.sum((noisy - signal) ** 2))
