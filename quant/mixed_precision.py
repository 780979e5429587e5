"""Chooses which ops of a graph get more bits: the most sensitive first, until it is enough."""

import dataclasses
import glob
import heapq
from collections.abc import Collection, Mapping, Sequence

from attokit.quant.float_islands import keep_float
from attokit.quant.graph import Graph
from attokit.quant.ops import table
from attokit.quant.retyping import readers_of
from attokit.quant.sensitivity import Score, Sensitivity
from attokit.quant.wide import widen

_LEAST_GAIN = 0.001  # of the noise that is left: less is not worth an op


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One choice.

    Attributes:
      layer: The op for whose sake.
      raised: Names of the ops that are raised now and were not before.
      score: Of the outputs then.
      ops: How many ops are raised in all.
      macs_share: Their share of the graph's multiply-adds.
    """

    layer: str
    raised: tuple[str, ...]
    score: Score
    ops: int
    macs_share: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MixedPrecision:
    """A choice of types.

    Attributes:
      graph: With these types; calibrate it anew.
      raised: Names of the ops that have them.
      kept: Names of graph inputs that stay int8 although int16 ops alone read them.
      steps: How it came to be; the last is the result.
      enough: Whether the target is reached, where one was given.
      refused: Layers that would have been raised but cannot, each with the reason.
    """

    graph: Graph
    raised: tuple[str, ...]
    kept: tuple[str, ...]
    steps: tuple[Step, ...]
    enough: bool
    refused: Mapping[str, str]


def choose_precision(
    found: Sensitivity,
    *,
    target_sqnr: float | None = None,
    target_metric: float | None = None,
    max_ops: int | None = None,
    max_macs_share: float = 1.0,
) -> MixedPrecision:
    """Returns the graph with as few ops raised as the target asks for, the most sensitive first.

    Each step tries which op's surroundings take the most noise from the outputs, given those that are
    raised already.  Errors of layers cancel each other in part, so there may be none that takes any; then
    those come next whose int8 makes most noise by itself.  It ends where the target is reached or nothing fits
    the budget; what did not bring it nearer in the end is left out.

    Args:
      found: The graph, swept.
      target_sqnr: SQNR of the outputs in dB that is good enough.
      target_metric: The caller's metric that is; both where both are given.
      max_ops: How many ops may be raised.
      max_macs_share: Which share of the multiply-adds these may make.

    Raises:
      ValueError: if neither a target nor a budget says what is enough, a target for a metric is given without
        one, or a number is out of range.
    """
    _check(found, target_sqnr, target_metric, max_ops, max_macs_share)
    search = _Search(found)
    while not (enough := _reached(search.score, target_sqnr, target_metric)):
        if not search.advance(max_ops, max_macs_share):
            break
    return search.result(enough)


def _check(
    found: Sensitivity,
    target_sqnr: float | None,
    target_metric: float | None,
    max_ops: int | None,
    max_macs_share: float,
) -> None:
    if target_sqnr is None and target_metric is None and max_ops is None and max_macs_share >= 1:
        raise ValueError(
            "nothing says what is enough: give target_sqnr, target_metric, max_ops or a max_macs_share below 1"
        )
    if target_metric is not None and found.real.metric is None:
        raise ValueError(
            f"target_metric {target_metric} fits no sweep without a metric: give one to quant.sensitivity"
        )
    if max_ops is not None and max_ops < 1:
        raise ValueError(f"max_ops is {max_ops}: give at least 1")
    if not 0 < max_macs_share <= 1:
        raise ValueError(f"max_macs_share is {max_macs_share}: give a share above 0 and up to 1")


def _reached(score: Score, sqnr: float | None, metric: float | None) -> bool:
    """Whether every target that is given is reached; never without one."""
    if sqnr is None and metric is None:
        return False
    good = sqnr is None or score.sqnr >= sqnr
    return good and (metric is None or (score.metric is not None and score.metric >= metric))


class _Search:
    """The ops that are raised so far, and what others would gain."""

    def __init__(self, found: Sensitivity):
        self._found, self._graph = found, found.graph
        ops = self._graph.ops
        self._macs = [table.OPS[op.kind].macs(op, self._graph.operand_shape) for op in ops]
        positions = {op.outputs[0]: i for i, op in enumerate(ops)}
        self._groups: dict[frozenset[int], str] = {}
        # By how much each lowers the noise: known for the first step, a guess for those that follow.
        self._gains: dict[frozenset[int], float] = {}
        for layer in found.layers:
            if layer.raised is not None:
                group = frozenset(found.sweep.around(positions[layer.name]))
                self._groups.setdefault(group, layer.name)
                self._gains[group] = found.quantized.noise - layer.raised.noise
        self._apart: dict[frozenset[int], float] = {}  # gains if nothing else is quantized
        self._chosen: frozenset[int] = frozenset()
        self._steps: list[Step] = []
        self.score = found.quantized

    def advance(self, max_ops: int | None, max_macs_share: float) -> bool:
        """Raises the ops around one more layer; False if none fits or is worth it.

        That is the layer that gains most.  Where none gains anything, since errors of several layers cancel each
        other in part, it is the one whose int8 makes the most noise when nothing else is quantized.
        """
        fitting = [
            group
            for group in self._groups
            if not group <= self._chosen and self._fits(group, max_ops, max_macs_share)
        ]
        if not fitting:
            return False
        if not self._apart:
            group, gain = self._most_gained(fitting)
            if gain >= _LEAST_GAIN * self.score.noise:
                return self._accept(group)
            self._apart = {group: self._found.sweep.gain_apart(group) for group in fitting}
        group = max(fitting, key=lambda one: self._apart[one])
        return self._apart[group] > 0 and self._accept(group)

    def _most_gained(self, groups: Sequence[frozenset[int]]) -> tuple[frozenset[int], float]:
        """Returns the group that lowers the noise most, and by how much."""
        order = [(-self._gains[group], i) for i, group in enumerate(groups)]
        heapq.heapify(order)
        tried: set[int] = set()
        while order[0][1] not in tried:  # what is first, and was tried now, is taken for the best
            _, i = order[0]
            noise = self._found.sweep.raised(self._chosen | groups[i]).noise
            self._gains[groups[i]] = self.score.noise - noise
            tried.add(i)
            heapq.heapreplace(order, (noise - self.score.noise, i))
        gain, i = order[0]
        return groups[i], -gain

    def _fits(self, group: Collection[int], max_ops: int | None, max_macs_share: float) -> bool:
        together = self._chosen | frozenset(group)
        few = max_ops is None or len(self._found.sweep.names(together)) <= max_ops
        return few and self._share(together) <= max_macs_share

    def _share(self, positions: Collection[int]) -> float:
        return sum(self._macs[i] for i in positions) / max(sum(self._macs), 1)

    def _accept(self, group: frozenset[int]) -> bool:
        sweep = self._found.sweep
        together = self._chosen | group
        self.score = sweep.raised(together)
        self._steps.append(
            Step(
                layer=self._groups[group],
                raised=sweep.names(group - self._chosen),
                score=self.score,
                ops=len(sweep.names(together)),
                macs_share=self._share(together),
            )
        )
        self._chosen = together
        return True

    def result(self, enough: bool) -> MixedPrecision:
        """Returns the choice; if it is not enough, the steps up to the least noise."""
        steps = self._steps
        if not enough:
            noise = [self._found.quantized.noise, *(step.score.noise for step in steps)]
            steps = steps[: noise.index(min(noise))]
        raised = {name for step in steps for name in step.raised}
        names = tuple(op.outputs[0] for op in self._graph.ops if op.outputs[0] in raised)
        int16 = self._found.raise_to == "int16"
        kept = self._inputs_of(names) if int16 else ()
        patterns, inputs = ([glob.escape(n) for n in some] for some in (names, kept))
        graph = self._graph
        if names:
            graph = widen(graph, patterns, keep=inputs) if int16 else keep_float(graph, patterns)
        return MixedPrecision(
            graph=graph,
            raised=names,
            kept=kept,
            steps=tuple(steps),
            enough=enough,
            refused={layer.name: layer.why_not for layer in self._found.layers if layer.why_not},
        )

    def _inputs_of(self, names: Collection[str]) -> tuple[str, ...]:
        """Returns the graph inputs of 8 bits that only ops among these read."""
        graph = self._graph
        narrow = [
            n for n in graph.inputs if graph.tensors[n].quantized and graph.tensors[n].bits == 8
        ]
        readers = {n: [op.outputs[0] for op in readers_of(graph, n)] for n in narrow}
        return tuple(n for n in narrow if readers[n] and set(readers[n]) <= set(names))
