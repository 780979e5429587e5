"""Cross-layer equalization: channels of one tensor get ranges that one scale suits.

INT8 holds all channels of an activation on one scale, so a channel whose range is a hundredth of the widest
keeps a hundredth of the integers.  A channel may be made s times smaller where its maker's kernel and bias
are divided by s and its readers' kernels multiplied, and the network computes the same.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (2019), section
4.1.  They want r1 = r2 of each channel, its range in the maker's kernel and in the reader's, both with one scale
per kernel: s = sqrt(r1 / r2).  Here a kernel has a scale for each output channel, so the maker's kernel loses
nothing by any s, and the two ranges that compete are others:

    r1  of the channel in the activation, over the widest channel's,
    r2  of its weights in a reader, over all weights of the same output, in that output where it is largest.

A depthwise reader has one channel per output, so r2 is 1 and activations become equal.  Given r2 depends on s: in
logarithms, with the reader's kernel w[o, i], the condition r1 = r2 reads

    s[i] = (r1[i] - max_o(w[o, i] - max_j(w[o, j] + s[j]))) / 2

whose right-hand side moves by half of what s moves at most, so it is iterated from s = 0.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.quant.batches import batches_of, carried
from attokit.quant.channel_factors import (
    ChannelFactors,
    channel_factors,
    groups_of,
    is_contraction,
)
from attokit.quant.coverage import Coverage
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops.kind import Op

# A channel below one step of the widest one's int8 counts as one step: it gets more integers, and room for
# more than the few batches showed of it.
_NARROWEST = np.log(1 / 256)
_SETTLED = 1e-3  # change of a logarithm
_MOST_ROUNDS = 200

Logarithms = Float[np.ndarray, " n"]


def equalizable(graph: Graph) -> Coverage:
    """Returns the contractions whose output channels `equalize` scales, and why it leaves the others."""
    return channel_factors(graph).coverage


def equalize(
    graph: Graph, weights: Weights, batches: Iterable[Any] | None = None
) -> dict[str, Array]:
    """Returns weights of the same float function whose channels have ranges that INT8 holds better.

    Calibrate afterwards: the scales of the graph before do not fit.

    Args:
      graph: As traced.
      weights: Its weights.
      batches: Inputs, as for `quant.calibrate`, whose activations tell the range of each channel.  None:
        taken from the kernels that make them, as the paper does.

    Raises:
      ValueError: if `batches` holds none, or one that is in no list, empty, of integers or not finite, or that
        makes a channel not finite; if a kernel or bias is not finite.
    """
    graph.check_weights(weights)
    data = None if batches is None else batches_of(graph, batches)
    found = channel_factors(graph)
    if not found.coverage.reached:
        return dict(weights)
    _check_finite(graph, weights)
    reaches = None if data is None else _seen(found, weights, data)
    shifts = _settled(found, [_Kernel(found, weights, op) for op in _contractions(graph)], reaches)
    return found.apply(weights, np.exp(-shifts))


def _contractions(graph: Graph) -> list[Op]:
    return [op for op in graph.ops if is_contraction(op)]


def _check_finite(graph: Graph, weights: Weights) -> None:
    """Raises ValueError if a kernel or bias is not finite: its factor would spoil those of others."""
    for op in _contractions(graph):
        for name in op.inputs[1:]:
            wrong = np.count_nonzero(~np.isfinite(np.asarray(graph.array(weights, name))))
            if wrong:
                raise ValueError(
                    f"{name!r} holds {wrong} values that are not finite; take weights of a training that "
                    "did not diverge"
                )


class _Kernel:
    """Logarithms of a contraction's largest weights, between its classes."""

    def __init__(self, found: ChannelFactors, weights: Weights, op: Op):
        array = np.abs(np.asarray(found.graph.array(weights, op.inputs[1]), np.float64))
        largest = array.reshape(-1, *array.shape[-2:]).max(0)
        groups = groups_of(op)
        # [cin / groups, groups, cout / groups], and classes of the first two axes.
        self._rows = _log(largest.reshape(len(largest), groups, -1))
        self._read = found.channels(op.inputs[0]).reshape(groups, -1).T
        self._made = found.channels(op.outputs[0])
        self._count = found.count

    def made(self, shifts: Logarithms) -> Logarithms:
        """Returns the largest weight that makes each class, where what it reads is `shifts` smaller."""
        largest = (self._rows + shifts[self._read][..., None]).max(0).reshape(-1)
        return _largest(self._made, largest, self._count)

    def share(self, shifts: Logarithms) -> Logarithms:
        """Returns how large weights for each class are, against the largest of an output with the shifts."""
        peak = (self._rows + shifts[self._read][..., None]).max(0)
        with np.errstate(invalid="ignore"):  # an output without weights asks for nothing
            row = np.where(np.isfinite(peak), self._rows - peak, -np.inf).max(-1)
        return _largest(self._read.reshape(-1), row.reshape(-1), self._count)


def _log(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    with np.errstate(divide="ignore"):
        return np.log(values)


def _largest(classes: np.ndarray, values: np.ndarray, count: int) -> Logarithms:
    """Returns the largest value of each class."""
    result = np.full(count, -np.inf)
    np.maximum.at(result, classes, values)
    return result


def _settled(
    found: ChannelFactors, kernels: Sequence[_Kernel], reaches: Logarithms | None
) -> Logarithms:
    """Returns the logarithm by which each class is to be divided."""
    shifts = np.zeros(found.count)
    tensors = _tensors_of(found)
    for _ in range(_MOST_ROUNDS):
        made = np.max([kernel.made(shifts) for kernel in kernels], 0, initial=-np.inf)
        ranges = made if reaches is None else _guessed(tensors, reaches, made)
        widest = _largest(tensors, ranges, found.count)[tensors]
        own = np.full(found.count, _NARROWEST)
        live = np.isfinite(ranges)
        own[live] = np.maximum(ranges[live] - widest[live], _NARROWEST)
        shares = np.max([kernel.share(shifts) for kernel in kernels], 0, initial=-np.inf)
        shares = np.maximum(shares, _NARROWEST - shifts)
        moved = (own - shares) / 2
        moved[0] = 0
        change, shifts = np.abs(moved - shifts).max(), moved
        if change < _SETTLED:
            break
    return shifts


def _guessed(tensors: np.ndarray, reaches: Logarithms, made: Logarithms) -> Logarithms:
    """Returns reaches with a guess for classes that were 0 in all that was seen.

    Another input may make them fire, so they are no narrow ones. They are held to reach as far, for the weights
    that make them, as any class of their tensor does, and no further than its widest.
    """
    known = np.isfinite(reaches) & np.isfinite(made)
    gains = np.full(len(reaches), -np.inf)
    gains[known] = reaches[known] - made[known]
    gain, widest = (_largest(tensors, v, len(reaches))[tensors] for v in (gains, reaches))
    return np.where(np.isfinite(reaches), reaches, np.minimum(made + gain, widest))


def _tensors_of(found: ChannelFactors) -> np.ndarray:
    """Returns a number for each class, the same for those that lie in one tensor; class 0 has its own."""
    numbers = np.arange(found.count)
    for classes in found.classes.values():
        own = np.unique(numbers[classes[classes > 0]])
        if len(own) > 1:
            numbers[np.isin(numbers, own)] = own[0]
    return numbers


def _seen(
    found: ChannelFactors, weights: Weights, batches: Sequence[tuple[Any, ...]]
) -> Logarithms:
    """Returns the largest magnitude of each class in the activations, as a logarithm."""
    names = [
        name
        for name, classes in found.classes.items()
        if classes.any() and classes.size == classes.shape[-1]  # others are but moved
    ]
    infinite = _with_infinities(found.graph)

    @jax.jit
    def reach(weights: Weights, *inputs: Array) -> dict[str, Array]:
        values = found.graph.intermediates(weights, *inputs)
        result = {}
        for name in names:
            row = jnp.abs(values[name].reshape(-1, values[name].shape[-1]))
            row = jnp.where(jnp.isinf(row), 0, row) if name in infinite else row
            result[name] = row.max(0)
        return result

    result = np.full(found.count, -np.inf)
    for i, batch in enumerate(batches):
        for name, values in reach(dict(weights), *carried(found.graph, batch)).items():
            array = np.asarray(values, np.float64)
            if not np.isfinite(array).all():
                raise ValueError(
                    f"calibration batch {i} makes {name!r} not finite; check the weights for NaN and overflow"
                )
            np.maximum.at(result, found.channels(name), _log(array))
    result[0] = -np.inf
    return result


def _with_infinities(graph: Graph) -> set[str]:
    """Returns the activations that may hold infinities of constants, as the pads of a max pool are.

    What a contraction makes of them is no number of the network's.
    """
    found = {name for name, array in graph.constants.items() if np.isinf(array).any()}
    for op in graph.ops:
        if not is_contraction(op) and not found.isdisjoint(op.inputs):
            found.update(op.outputs)
    return found


__all__ = ["equalizable", "equalize"]
