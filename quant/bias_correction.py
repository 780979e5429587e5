"""Empirical bias correction: every op gives the mean that it gives in float.

Rounding moves the mean of what a channel holds, most of all where kernels are small (depthwise) or have 4 bits. The
mean error of an op over typical inputs is a constant per channel, and so is a bias: it takes the error back.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (2019), section 4.2
and appendix D, the form with data.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.quant import params
from attokit.quant.batches import batches_of, carried, examples_of
from attokit.quant.channel_factors import is_contraction
from attokit.quant.coverage import Coverage
from attokit.quant.fake_quant import check_kernels, entering, op_outputs
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels, Op, Scales
from attokit.quant.ops.requantize import per_channel
from attokit.quant.params import QParams
from attokit.quant.plan import OpPlan, Ranges, function_tables, make_plans

# Where integers choose other boxes than floats do, what follows has other regions to look at, and the difference of
# the means is none of rounding: the integer graph gets the boxes of the float graph.
_CHOICES = frozenset({"propose", "detect"})

# Calibration by percentiles, means or errors clips a few inputs, and other images may reach a little further: more
# than this share of values, further out than this share of the range, are data on another scale.
_OUTSIDE = 0.01
_BEYOND = 0.1


def correctable(graph: Graph) -> Coverage:
    """Returns the ops whose bias `correct_bias` changes, and why it leaves others with a kernel."""
    reached, left_out = [], {}
    for op in filter(is_contraction, graph.ops):
        reason = _obstacle(graph, op)
        if reason:
            left_out[op.outputs[0]] = reason
        else:
            reached.append(op.outputs[0])
    return Coverage(reached=tuple(reached), left_out=left_out)


def _obstacle(graph: Graph, op: Op) -> str:
    """Returns why the bias of a contraction stays as it is, or ""."""
    if len(op.inputs) < 3:
        return "it has no bias"
    if op.inputs[2] not in graph.weight_shapes:
        return f"its bias {op.inputs[2]!r} is a constant of the function"
    return ""


def correct_bias(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    batches: Iterable[Any],
    *,
    kernels: Kernels = "reference",
) -> dict[str, Array]:
    """Returns weights whose biases take back the mean error of every op with a kernel.

    Op after op, in the graph's order, reads what the integer graph made of the batch with the biases corrected so
    far, and its bias is shifted by the mean difference of float and integer graph per channel.  Means are those
    of the op's sums, before its activation clamps and before they are rounded to the output's scale.  Every
    batch is corrected by itself and the shifts are averaged; so are those of a bias that several ops share, by
    how many values they make.  Ops without a bias stay as they are: `correctable` names them.

    `qparams` stay as they are: the scale of a bias is that of input and kernel.  Float islands are corrected too, for
    what they read is not.

    Args:
      graph: As traced, or with other types by `quant.widen` and `quant.keep_float`.
      weights: Of the float graph, which says what is right: not such as were corrected before.
      qparams: As calibrated for these weights.
      batches: Inputs, as for `quant.calibrate`.
      kernels: Whose rounding to correct for, as for `quant.fake_quant`.

    Raises:
      ValueError: if `batches` holds none, or one that is in no list, empty, of integers, not finite or on another
        scale than the calibrated range; if a kernel set is unknown, or weights or qparams are of another
        graph, or a shift is not finite.
    """
    check_kernels(kernels)
    graph.check_weights(weights)
    data = batches_of(graph, batches)
    _check_covered(graph, qparams, data)
    # Arguments of the program: what it closes over XLA computes with, one core at a time, as it compiles.
    program = jax.jit(functools.partial(_shifts, graph, kernels))
    known = dict(weights), dict(qparams), function_tables(graph, qparams)

    def shifts(given: Weights, inputs: tuple[Any, ...]) -> dict[str, Array]:
        return program(*known, dict(given), inputs)

    shared = _shared_biases(graph)
    corrected = _corrected(weights, shifts, {}, data)
    if shared:  # what follows them is to see their mean
        corrected |= _corrected(weights, shifts, {n: corrected[n] for n in shared}, data)
    return {**weights, **corrected}


def _check_covered(graph: Graph, qparams: QParams, batches: Sequence[tuple[Any, ...]]) -> None:
    """Raises ValueError if inputs clip as none do that the qparams were calibrated for."""
    ranges = Ranges(graph, jax.device_get(dict(qparams)), np)
    for name, column in zip(graph.inputs, zip(*batches, strict=False), strict=False):
        if not graph.tensors[name].quantized:
            continue
        scale, zero_point = ranges.activation(name)
        low, high = ((n - zero_point) * scale for n in params.limits(ranges.bits(name)))
        room = _BEYOND * (high - low)
        for i, value in enumerate(column):
            array = np.asarray(value, np.float32)
            outside = np.mean((array < low - room) | (array > high + room))
            if outside > _OUTSIDE:
                raise ValueError(
                    f"calibration batch {i} of input {name!r} spans [{array.min():g}, {array.max():g}], "
                    f"qparams hold [{low:g}, {high:g}]; scale the data as for quant.calibrate, or calibrate "
                    "with it"
                )


def _shared_biases(graph: Graph) -> list[str]:
    """Returns the biases that several ops read."""
    read = collections.Counter(
        op.inputs[2] for op in graph.ops if is_contraction(op) and not _obstacle(graph, op)
    )
    return [name for name, count in read.items() if count > 1]


def _corrected(
    weights: Weights,
    shifts: Callable[[Weights, tuple[Any, ...]], dict[str, Array]],
    given: Weights,
    batches: Sequence[tuple[Any, ...]],
) -> dict[str, Array]:
    """Returns the biases that are not given, shifted by the mean over batches."""
    total: dict[str, Any] = collections.defaultdict(float)
    for i, batch in enumerate(batches):
        for name, shift in shifts(given, batch).items():
            if not np.isfinite(shift).all():
                raise ValueError(
                    f"calibration batch {i} shifts {name!r} by what is not finite; check the weights for NaN "
                    "and overflow"
                )
            total[name] = total[name] + np.asarray(shift, np.float64) * examples_of(batch)
    count = sum(map(examples_of, batches))
    return {
        name: jnp.asarray(np.asarray(weights[name], np.float64) + shift / count, jnp.float32)
        for name, shift in total.items()
    }


def _shifts(
    graph: Graph,
    kernels: Kernels,
    weights: Weights,
    qparams: QParams,
    tables: Mapping[str, Any] | None,
    given: Weights,
    inputs: tuple[Any, ...],
) -> dict[str, Float[Array, " c"]]:
    """Returns what one batch asks to add to each bias that is not given."""
    inputs = carried(graph, inputs)
    wanted = graph.intermediates(weights, *inputs)
    ranges = Ranges(graph, qparams)
    values: dict[str, Array] = {
        name: entering(graph, ranges, name, value)
        for name, value in zip(graph.inputs, inputs, strict=True)
    }
    plans = make_plans(graph, weights, qparams, kernels, tables)
    found: dict[str, list[tuple[Array, int]]] = collections.defaultdict(list)

    def find(name: str) -> Array:
        return graph.array(weights, name)

    for op, plan in zip(graph.ops, plans, strict=True):
        scales = ranges.scales(op)
        bias = None
        if is_contraction(op) and op.inputs[2:] and op.inputs[2] in given:
            bias = given[op.inputs[2]]
        elif is_contraction(op) and not _obstacle(graph, op):
            exact = _mean_sum(op, wanted[op.inputs[0]], find(op.inputs[1]))
            shift = exact - _mean_sum(op, *_reals((values[op.inputs[0]], plan.weights[1]), scales))
            found[op.inputs[2]].append((shift, math.prod(graph.tensors[op.outputs[0]].shape)))
            bias = find(op.inputs[2]) + shift
        if op.kind in _CHOICES:
            values |= {name: wanted[name] for name in op.outputs}
        else:
            operands = tuple(values[n] if n in values else find(n) for n in op.inputs)
            if bias is not None:  # an op on float32 reads operands, one in integers the plan
                operands, plan = (*operands[:2], bias), _with_bias(plan, bias)
            outputs = op_outputs(graph, op, kernels, operands, scales, plan)
            values |= dict(zip(op.outputs, outputs, strict=True))
    return {name: _weighted(rows) for name, rows in found.items()}


def _reals(operands: tuple[Array, Array], scales: Scales) -> list[Array]:
    """Returns what an input and a kernel in integers stand for; what has no scale stands for itself."""
    return [
        held if scale is None else held * per_channel(scale, held.ndim)
        for held, scale in zip(operands, scales.inputs, strict=False)
    ]


def _mean_sum(op: Op, values: Array, kernel: Array) -> Float[Array, " c"]:
    """Returns the mean of what a contraction makes without bias and activation, per channel."""
    (sums,) = table.OPS[op.kind].compute(op, values, kernel)
    return sums.mean(tuple(range(sums.ndim - 1)))


def _with_bias(plan: OpPlan, bias: Float[Array, " c"]) -> OpPlan:
    """Returns a plan with another bias in integers; that of an op on float32 has none."""
    scales = plan.scales.inputs
    if scales[0] is None:
        return plan
    scale = jnp.broadcast_to(scales[0] * scales[1], bias.shape)
    bias = params.quantize_bias(bias, scale)
    return dataclasses.replace(plan, weights=(*plan.weights[:2], bias))


def _weighted(rows: list[tuple[Array, int]]) -> Array:
    """Returns the mean of shifts, each with its weight."""
    shifts, weights = zip(*rows, strict=True)
    return jnp.average(jnp.stack(shifts), axis=0, weights=jnp.asarray(weights, jnp.float32))


__all__ = ["correct_bias", "correctable"]
