"""BATCH_MATMUL: a product of two activations, matrix by matrix.

Attributes: `adj_x`, `adj_y`: whether the matrices of either operand are transposed first.
Inputs: first [..., m, k] (or [..., k, m]), second [..., k, n] (or [..., n, k]), of the same rank.
"""

import functools
import math
import operator

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from attokit.quant import long_integers
from attokit.quant.ops.kind import Kernels, Op, OpKind, Ratio, Rescaled, Scales, Wide
from attokit.quant.ops.requantize import rescale, rescale_long

_EXACT_PRODUCTS = 2**24 // (255 * 255)  # that add up exactly in float32


def _matrices(op: Op, first: Array, second: Array) -> tuple[Array, Array]:
    """Returns the operands as [..., m, k] and [..., k, n]."""
    return (
        jnp.swapaxes(first, -1, -2) if op["adj_x"] else first,
        jnp.swapaxes(second, -1, -2) if op["adj_y"] else second,
    )


def _compute(op, first, second):
    first, second = _matrices(op, first, second)
    return (first @ second,)


def accumulate(
    first: Float[Array, "... m k"], second: Float[Array, "... k n"]
) -> Int32[Array, "... m n"]:
    """Returns the exact integer product of integers held in float32 (see `convolution`)."""

    def partial(start: int) -> Int32[Array, "... m n"]:
        part = slice(start, start + _EXACT_PRODUCTS)
        return (first[..., part] @ second[..., part, :]).astype(jnp.int32)

    return functools.reduce(operator.add, map(partial, range(0, first.shape[-1], _EXACT_PRODUCTS)))


def _ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """LiteRT multiplies the scales as floats, TFLite Micro as doubles; both divide doubles."""
    del op
    first, second = scales.inputs
    if kernels == "micro":
        return (Ratio(first=first, second=second, third=scales.outputs[0]),)
    return (Ratio(first=first * second, third=scales.outputs[0]),)


def _integer(op, kernels, integers, multipliers, scales):
    accumulators = accumulate(*_matrices(op, *integers))
    result = rescale(accumulators, multipliers[0], kernels)
    if kernels == "xnnpack":  # it takes only seconds whose zero point is 0
        others = rescale(accumulators, multipliers[0], "reference")
        own = scales.input_zero_points[1] == 0
        rounded = jnp.where(own, result.integers, others.integers.astype(jnp.float32))
        result = Rescaled(integers=rounded, real=result.real)
    return (result,)


def _integer_wide(op, kernels, integers, multipliers, scales):
    """Four products of halves: both operands have 16 bits."""
    del kernels, scales
    first, second = map(long_integers.halves, _matrices(op, *integers))
    (high, middle), (other, low) = ([accumulate(x, y) for y in second] for x in first)
    total = long_integers.of(high).scaled(8) + long_integers.of(middle) + long_integers.of(other)
    return (rescale_long(total.scaled(8) + long_integers.of(low), multipliers[0]),)


def _macs(op: Op, shape_of):
    depth = shape_of(op.inputs[0])[-2 if op["adj_x"] else -1]
    return math.prod(shape_of(op.outputs[0])) * depth


BATCH_MATMUL = OpKind(
    name="batch_matmul",
    compute=_compute,
    integer=_integer,
    ratios=_ratios,
    macs=_macs,
    wide=Wide(integer=_integer_wide),
)
