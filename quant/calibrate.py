"""Post-training quantization: scales and zero points from a few batches of data."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.quant import params
from attokit.quant.batches import batches_of, carried
from attokit.quant.graph import Graph, Weights
from attokit.quant.kernel_bits import Bits, bits_of_kernels
from attokit.quant.kernel_scales import METHODS, KernelMethod, kernel_scale
from attokit.quant.least_scales import widened
from attokit.quant.masks import mask_by_arithmetic, mask_in_arithmetic, readers_of_masks
from attokit.quant.observers import OBSERVERS, Observer
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Operand
from attokit.quant.params import QuantParams
from attokit.quant.tied_constants import MASK, Claim, claim, ignored_sides

_SLACK = 1e-6  # by which inputs may leave their range: rounding of the user's arithmetic
Method = Literal["minmax", "moving_average", "percentile", "mse"]


def calibrate(
    graph: Graph,
    weights: Weights,
    batches: Iterable[Any],
    *,
    method: Method = "minmax",
    input_range: tuple[float, float] | None = (0.0, 1.0),
    symmetric: bool = False,
    per_channel: bool = True,
    kernel_method: KernelMethod = "minmax",
    weight_bits: Bits | Mapping[str, Bits] = 8,
) -> dict[str, QuantParams]:
    """Returns the scale and zero point of every range, kernel and constant.

    Args:
      graph: As traced, or with 16 bits by `quant.widen`.
      weights: Its weights.
      batches: Batches of inputs: arrays, or tuples of arrays where the graph takes several, of
        any batch size.  All are kept in memory.
      method: "minmax" covers all that was seen; "moving_average" averages each batch's extremes;
        "percentile" leaves out the outermost 0.01 %; "mse" minimizes the mean squared rounding
        error.
      input_range: What inputs may be, which fixes their scale: (0, 1) is the contract of the models
        here, and makes the int8 input `byte - 128`.  None observes inputs like the rest.
      symmetric: Zero points are 0 and integers in [-127, 127], but for inputs that have an
        `input_range` and for ranges that the spec prescribes.
      per_channel: One scale per output channel of a kernel; otherwise one per kernel.
      kernel_method: "minmax" covers all values of a kernel; "mse" minimizes the mean squared
        rounding error; "lsq" and "lsq+" are the starting points of these methods for learning (by
        the mean magnitude, and three standard deviations), at most what covers all.
      weight_bits: 4 holds the kernels of conv_2d and fully_connected in [-7, 7].  A mapping names
        kernels by patterns ("stem/*"), of which the last that fits counts; others have 8.

    Raises:
      ValueError: if there is no batch, or one that is in no list; if a value is not finite, or
        inputs leave `input_range`; if arithmetic reads a mask; if `weight_bits` has another number
        than 4 or 8, or a pattern that fits no kernel that may have so many.
    """
    if input_range is not None and not -np.inf < input_range[0] < input_range[1] < np.inf:
        raise ValueError(f"input_range={input_range} is no (low, high) with finite low < high")
    if method not in OBSERVERS:
        raise ValueError(f"no calibration method {method!r}; choose one of {', '.join(OBSERVERS)}")
    if kernel_method not in METHODS:
        raise ValueError(f"no kernel method {kernel_method!r}; choose one of {', '.join(METHODS)}")
    observer = OBSERVERS[method]()
    observed = batches_of(graph, batches)
    tied = _tied_constants(graph, weights)
    masked = {key for key, (_, masks) in tied.items() if masks}
    _observe(graph, weights, observed, observer, input_range, masked)
    narrow = params.symmetric_range if symmetric else params.from_range

    def cover(name: str) -> Callable[[float, float], QuantParams]:
        return params.wide_range if graph.range_bits.get(name, 8) > 8 else narrow

    qparams = {}
    for name in dict.fromkeys(_observed_tensors(graph).values()):
        wide = graph.range_bits[name] > 8
        if input_range is not None and name in graph.inputs:
            qparams[name] = (params.wide_range if wide else params.from_range)(*input_range)
        else:
            low, high = observer.range(name, graph.range_bits[name])
            wanted, _ = tied.get(name, (Claim(), False))
            low, high = min(low, wanted.low), max(high, wanted.high)
            qparams[name] = cover(name)(low - wanted.below, high + wanted.above)
    _respect_kernels(graph, qparams)
    options = {"per_channel": per_channel, "method": kernel_method}
    bits = bits_of_kernels(graph, weight_bits)
    return qparams | _of_weights(graph, weights, qparams, cover, bits, options)


def _respect_kernels(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    """Widens ranges to the least scales that kernels accept."""
    found = widened(graph, lambda name: np.float32(_scale(graph, qparams, name)), np)
    for name, scale in found.items():
        qparams[name] = dataclasses.replace(qparams[name], scale=jnp.float32(scale))


def _observe(
    graph: Graph,
    weights: Weights,
    batches: Sequence[tuple[Any, ...]],
    observer: Observer,
    input_range: tuple[float, float] | None,
    masked: set[str],
) -> None:
    """Shows the observer every activation of every batch, as often as it wants."""
    watched = _observed_tensors(graph)
    spoilt = readers_of_masks(graph, weights, masked)
    seen = dict.fromkeys([*watched, *(n for n, op in spoilt.items() if graph.is_float(op))])
    softened = {op.inputs[0]: op for op in graph.ops if op.kind in ("softmax", "log_softmax")}

    def activations(weights: Weights, *inputs: Float[Array, "..."]) -> dict[str, Array]:
        values = graph.intermediates(weights, *inputs)
        return {name: values[name] for name in seen}

    run = jax.jit(activations)
    for _ in range(observer.passes):
        for i, batch in enumerate(batches):
            if input_range is not None:
                _check_range(graph, i, batch, input_range)
            values = run(weights, *carried(graph, batch))
            for name, value in values.items():
                array = np.asarray(value)
                if watched.get(name) in masked:
                    array = array[np.abs(array) < MASK]
                elif name in spoilt and not (np.abs(array) < MASK).all():
                    raise ValueError(mask_in_arithmetic(spoilt[name]))
                elif name in softened and not (array > -MASK).all():
                    raise ValueError(mask_by_arithmetic(softened[name], name))
                if name not in watched:
                    continue
                if not np.isfinite(array).all():
                    raise ValueError(
                        f"calibration batch {i} makes {name!r} not finite "
                        f"({np.count_nonzero(~np.isfinite(array))} of {array.size} values); "
                        "check the weights and the batch for NaN and overflow"
                    )
                if array.size:
                    observer.see(watched[name], array)
        observer.next_pass()


def _observed_tensors(graph: Graph) -> dict[str, str]:
    """Returns the tensors whose values decide a range, and that range's name."""
    return {
        name: tensor.range_name
        for name, tensor in graph.tensors.items()
        if tensor.quantized and tensor.range_name not in graph.fixed_ranges
    }


def _tied_constants(graph: Graph, weights: Weights) -> dict[str, tuple[Claim, bool]]:
    """Returns what constants ask of each range that they share, and whether masks are among them."""
    sides = ignored_sides(graph.ops, graph.outputs)
    found: dict[str, tuple[Claim, bool]] = {}
    for op in graph.ops:
        for i, name in enumerate(op.inputs):
            key = graph.constant_ranges.get((op.outputs[0], i))
            if key is not None and key not in graph.fixed_ranges:
                values = np.asarray(graph.array(weights, name), np.float32)
                wanted, masks = found.get(key, (Claim(), False))
                own = table.OPS[op.kind].ignores
                wanted |= claim(values, own, sides.get(op.outputs[0]))
                found[key] = wanted, masks or bool((np.abs(values) >= MASK).any())
        if op.kind == "quantize":
            _pass_on(graph, op, found)
    return found


def _pass_on(graph: Graph, op: Op, found: dict[str, tuple[Claim, bool]]) -> None:
    """Makes the range that an op changes to hold what the constants so far ask of the other."""
    own, other = (graph.tensors[names[0]].range_name for names in (op.outputs, op.inputs))
    if other in found and own not in graph.fixed_ranges:
        wanted, masks = found.get(own, (Claim(), False))
        found[own] = wanted | found[other][0], masks or found[other][1]


def _check_range(
    graph: Graph, index: int, batch: tuple[Any, ...], input_range: tuple[float, float]
) -> None:
    for name, value in zip(graph.inputs, batch, strict=False):
        if not graph.tensors[name].quantized:
            continue
        array = np.asarray(value, np.float32)
        low, high = float(array.min()), float(array.max())
        if low < input_range[0] - _SLACK or high > input_range[1] + _SLACK:
            raise ValueError(
                f"calibration batch {index} of input {name!r} spans [{low:g}, {high:g}], "
                f"outside of input_range={input_range}; scale the data, "
                "or pass the range that inputs have (None: as observed)"
            )


def _of_weights(
    graph: Graph,
    weights: Weights,
    qparams: dict[str, QuantParams],
    cover: Callable[[str], Callable[[float, float], QuantParams]],
    bits_of: Mapping[str, int],
    options: Mapping[str, Any],
) -> dict[str, QuantParams]:
    """Returns the parameters of kernels (symmetric) and of constants."""
    result: dict[str, QuantParams] = {}
    for op in graph.ops:
        roles = graph.operands(op)
        for i, (name, role) in enumerate(zip(op.inputs, roles, strict=True)):
            if role in (Operand.ACTIVATION, Operand.PLAIN):
                continue
            if (op.outputs[0], i) in graph.constant_ranges:
                continue
            array = np.asarray(graph.array(weights, name))
            if role is Operand.CONSTANT:
                result[name] = cover(name)(float(array.min()), float(array.max()))
            elif role is Operand.KERNEL:
                bias = None
                if len(op.inputs) > i + 1:
                    bias = np.asarray(graph.array(weights, op.inputs[i + 1]))
                scale_in = _input_scale(graph, qparams, op.inputs[0])
                bits = bits_of.get(name, 8)
                scale = kernel_scale(array, bias, scale_in, bits=bits, **options)
                if name in result:  # a kernel that several ops share
                    scale = np.maximum(scale, np.asarray(result[name].scale))
                result[name] = QuantParams(jnp.asarray(scale), jnp.float32(0), bits)
    return result


def _input_scale(graph: Graph, qparams: dict[str, QuantParams], name: str) -> float:
    return _scale(graph, qparams, graph.tensors[name].range_name)


def _scale(graph: Graph, qparams: Mapping[str, QuantParams], key: str) -> float:
    return graph.fixed_ranges[key][0] if key in graph.fixed_ranges else float(qparams[key].scale)
