"""How much noise quantization adds, layer by layer: the integer graph against the float graph.

Noise is told as the ratio of signal to quantization noise (SQNR) in decibels: 10 log10 of the float
values' power to that of the difference.  6 dB are one bit.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.quant.fake_quant import check_kernels
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels
from attokit.quant.params import QParams
from attokit.quant.plan import function_tables
from attokit.quant.steps import Steps
from attokit.quant.tied_constants import MASK

_MAIN_SHARE = 0.5  # of the noise, which the layers that are named make
_FEW = 0.1  # of the layers, for whose sake the others need not change


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerNoise:
    """The noise of one activation.

    Attributes:
      tensor: Its name, the layer's in the user's model.
      kind: Of the op that makes it; "input" of what enters.
      accumulated: SQNR in dB where all before it is quantized too: what the file has.
      own: SQNR in dB where the op reads the float graph's values: what this op adds, by rounding what
        it reads, its kernel and what it makes.
      share: Of the sum of all ops' own noise, each relative to its signal; 0 of ops that only move values.
    """

    tensor: str
    kind: str
    accumulated: float
    own: float
    share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleNoise:
    """The noise of one example.

    Attributes:
      index: In the order in which the examples were given.
      error: Root mean square error of the outputs, relative to their root mean square over all examples.
    """

    index: int
    error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """What quantization does to a graph.

    Attributes:
      layers: Every activation of reals, in execution order.
      outputs: SQNR in dB of what leaves the graph, by its name in the function's result.
      examples: The one with the largest error first; empty if outputs have no batch axis.
    """

    layers: tuple[LayerNoise, ...]
    outputs: Mapping[str, float]
    examples: tuple[ExampleNoise, ...]

    @property
    def main_layers(self) -> tuple[LayerNoise, ...]:
        """The layers with the most noise of their own, which make half of it; the noisiest first."""
        found: list[LayerNoise] = []
        for layer in sorted(self.layers, key=lambda layer: -layer.share):
            if layer.share == 0 or sum(other.share for other in found) >= _MAIN_SHARE:
                break
            found.append(layer)
        return tuple(found)

    @property
    def stands_out(self) -> bool:
        """Whether few layers make half of the noise, so that these are worth more bits."""
        active = sum(layer.share > 0 for layer in self.layers)
        return 0 < len(self.main_layers) <= max(1, _FEW * active)


def signal_to_noise(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    batches: Iterable[Any],
    *,
    kernels: Kernels = "reference",
) -> Noise:
    """Returns the noise of every layer and example, measured on batches.

    It costs about two runs of the integer graph and one of the float graph.  Masks (beyond ±10,000) stand
    for infinity and are not counted.

    Args:
      graph: As traced, in whatever types.
      weights: Of the graph.
      qparams: Likewise.
      batches: Of inputs: arrays, or tuples of arrays where the graph takes several.
      kernels: Whose rounding, as for `quant.fake_quant`.

    Raises:
      ValueError: if there is no batch, or one that does not fit.
    """
    check_kernels(kernels)
    tables = function_tables(graph, qparams)
    powers = jax.jit(functools.partial(_powers, graph, kernels))
    found: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        inputs = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
        graph.check_arguments(weights, inputs)
        # One program twice: it takes longer to compile than to run.
        both, own = (
            jax.device_get(powers(dict(weights), dict(qparams), inputs, tables, accumulate))
            for accumulate in (True, False)
        )
        for name in both:
            found.setdefault(name, []).append(np.concatenate([both[name], own[name][1:]]))
    if not found:
        raise ValueError(
            "noise is measured on examples, but there is no batch; give a few dozen inputs "
            "(an iterator that was used up is empty: pass a list)"
        )
    return _noise(graph, {name: np.concatenate(parts, 1) for name, parts in found.items()})


def _powers(
    graph: Graph,
    kernels: Kernels,
    weights: Weights,
    qparams: QParams,
    inputs: tuple[Any, ...],
    tables: Mapping[str, Any] | None,
    accumulate: bool | Array,
) -> dict[str, Float[Array, "2 n"]]:
    """Returns sums of squares of each activation, of its signal and its noise.

    They are of every example, or of all together where the batch axis is not the first.

    Args:
      graph: Whose activations.
      kernels: Whose rounding.
      weights: Of the graph.
      qparams: Likewise.
      inputs: Likewise.
      tables: Of `plan.function_tables`.
      accumulate: Whether ops read what the integer ops before them made, or the float graph's values.
    """
    steps = Steps(graph, weights, qparams, kernels, tables)
    real = graph.intermediates(weights, *inputs)
    noisy = {name: steps.rounded(name, real[name]) for name in graph.inputs}
    for i, op in enumerate(graph.ops):
        names = [n for n in op.inputs if graph.is_activation(n)]
        read = [jnp.where(accumulate, noisy[n], real[n]) for n in names]
        noisy.update(zip(op.outputs, steps.in_integers(i, read), strict=True))
    batch = len(inputs[0]) if inputs and np.ndim(inputs[0]) else 1
    return {
        name: _sums(value, noisy[name], batch)
        for name, value in real.items()
        if graph.carried(name) == "float32"
    }


def _sums(real: Array, noisy: Array, batch: int) -> Float[Array, "2 n"]:
    counted = jnp.isfinite(real) & (jnp.abs(real) < MASK)

    def power(values: Array) -> Array:
        squares = jnp.where(counted, values, jnp.float32(0)) ** 2
        rows = batch if squares.ndim and squares.shape[0] == batch else 1
        return jnp.sum(squares.reshape(rows, -1), axis=1)

    return jnp.stack([power(real), power(noisy - real)])


def _noise(graph: Graph, powers: Mapping[str, Float[np.ndarray, "3 n"]]) -> Noise:
    """Returns the report of sums of squares: of the signal, of all noise and of the op's own."""
    kinds = dict.fromkeys(graph.inputs, "input")
    kinds |= {name: op.kind for op in graph.ops for name in op.outputs}
    sums = {n: powers[n].sum(1, dtype=np.float64).tolist() for n in kinds if n in powers}
    # What is only moved keeps the rounding that it came with: no noise of this op.
    ratios = {
        name: own / signal if signal and not _only_moves(kinds[name]) else 0.0
        for name, (signal, _, own) in sums.items()
    }
    total = sum(ratios.values())
    layers = tuple(
        LayerNoise(
            tensor=name,
            kind=kinds[name],
            accumulated=decibels(signal, noise),
            own=decibels(signal, own),
            share=ratios[name] / total if total else 0.0,
        )
        for name, (signal, noise, own) in sums.items()
    )
    outputs = {
        label: decibels(*sums[name][:2])
        for label, name in zip(graph.output_names, graph.outputs, strict=True)
        if name in sums
    }
    return Noise(layers=layers, outputs=outputs, examples=_examples(graph, powers))


def _only_moves(kind: str) -> bool:
    return kind in table.OPS and table.OPS[kind].moves and not table.OPS[kind].only_float


def _examples(
    graph: Graph, powers: Mapping[str, Float[np.ndarray, "3 n"]]
) -> tuple[ExampleNoise, ...]:
    """Returns the examples by their error, the largest first."""
    rows = [powers[name] for name in dict.fromkeys(graph.outputs) if name in powers]
    count = max((power.shape[1] for power in powers.values()), default=0)
    rows = [row for row in rows if row.shape[1] == count and row[0].any()]
    if not rows:
        return ()
    ratios = np.mean([row[1] / row[0].mean(dtype=np.float64) for row in rows], axis=0)
    order = np.argsort(-ratios, kind="stable")
    return tuple(ExampleNoise(index=int(i), error=math.sqrt(ratios[i])) for i in order)


def decibels(signal: float, noise: float) -> float:
    """Returns 10 log10(signal / noise): infinite without noise, minus infinity without signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
