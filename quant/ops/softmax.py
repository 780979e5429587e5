"""SOFTMAX over the last axis, on gemmlowp's fixed-point exponential and reciprocal.

The output's range is fixed by the spec: scale 1/256, zero point -128.
"""

from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from attokit.quant.fixed_point import (
    divide_by_power_of_two,
    doubling_high_multiply,
    saturating_shift,
)
from attokit.quant.ops.kind import Kernels, Op, OpKind, Ratio, Rescaled, Scales

_DIFFERENCE_BITS = 26  # scaled differences are Q5.26
_ACCUMULATION_BITS = 12  # the sum of exponentials is Q12.19
_MAX = 2**31 - 1
# exp(-2**(k - 26)) in Q0.31 for each bit k of a Q5.26 number from 1/4 up.
_EXP_OF_BITS = (
    (24, 1672461947),
    (25, 1302514674),
    (26, 790015084),
    (27, 290630308),
    (28, 39332535),
    (29, 720401),
    (30, 242),
)


def _compute(op, values):
    del op
    return (jax.nn.softmax(values, axis=-1),)


def _ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    del op, kernels
    return (Ratio(first=scales.inputs[0], exponent=_DIFFERENCE_BITS),)


def _integer(op, kernels, integers, multipliers, scales):
    del op, kernels, scales
    values = integers[0].astype(jnp.int32)
    difference = jnp.max(values, axis=-1, keepdims=True) - values  # in [0, 255]
    table = _exponential_table(multipliers[0])
    exponentials = table[difference]
    total = jnp.sum(
        divide_by_power_of_two(exponentials, jnp.int32(_ACCUMULATION_BITS)), axis=-1, keepdims=True
    )
    headroom = jax.lax.clz(total)
    fraction = (total << headroom) + jnp.int32(-(2**31))  # the leading 1 drops out
    inverse = _one_over_one_plus(fraction)
    shift = jnp.clip(_ACCUMULATION_BITS - headroom + 31 - 8, 0, 31)
    result = divide_by_power_of_two(doubling_high_multiply(inverse, exponentials), shift)
    return (Rescaled(integers=result),)


def _exponential_table(multiplier) -> Int32[Array, "256"]:
    """Returns exp(-s * d) in Q0.31 for d = 0 … 255, zero where the kernel leaves it out."""
    overflows = multiplier.exponent[0] > 31  # scales beyond 32: the kernel clips the multiplier
    exponent = jnp.where(overflows, 31, multiplier.exponent[0])
    mantissa = jnp.where(overflows, jnp.int32(_MAX), multiplier.mantissa[0])
    difference = jnp.arange(256, dtype=jnp.int32)
    scaled = doubling_high_multiply((-difference) << exponent, mantissa)
    return jnp.where(difference <= (jnp.int32(31 << 26) >> exponent), _exp_negative(scaled), 0)


def _exp_negative(value: Int32[Array, " n"]) -> Int32[Array, " n"]:
    """Returns exp(value) in Q0.31 for value <= 0 in Q5.26."""
    quarter = 1 << 24
    reduced = (value & (quarter - 1)) - quarter
    remainder = reduced - value
    result = _exp_in_last_quarter(reduced << 5)
    for bit, factor in _EXP_OF_BITS:
        shrunk = doubling_high_multiply(result, jnp.int32(factor))
        result = jnp.where((remainder & (1 << bit)) != 0, shrunk, result)
    return jnp.where(value == 0, jnp.int32(_MAX), result)


def _exp_in_last_quarter(value: Int32[Array, " n"]) -> Int32[Array, " n"]:
    """Returns exp(value) in Q0.31 for value in [-1/4, 0): Taylor around -1/8."""
    constant, third = jnp.int32(1895147668), jnp.int32(715827883)  # exp(-1/8), 1/3
    x = value + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    tail = doubling_high_multiply(divide_by_power_of_two(x4, jnp.int32(2)) + x3, third) + x2
    tail = divide_by_power_of_two(tail, jnp.int32(1))
    return constant + doubling_high_multiply(constant, x + tail)


def _one_over_one_plus(value: Int32[Array, "..."]) -> Int32[Array, "..."]:
    """Returns 1 / (1 + value) in Q0.31 for value in [0, 1): three Newton steps in Q2.29."""
    half = (value >> 1) + (1 << 30)  # half of value + 1, whose sum does not fit in 31 bits
    x = jnp.int32(1515870810) + doubling_high_multiply(half, jnp.int32(-1010580540))
    for _ in range(3):
        error = jnp.int32(1 << 29) - doubling_high_multiply(half, x)
        x = x + saturating_shift(doubling_high_multiply(x, error), 2)
    return saturating_shift(x, 1)


SOFTMAX = OpKind(
    name="softmax",
    compute=_compute,
    integer=_integer,
    ratios=_ratios,
    fixed_range=(1 / 256, -128),
    bounds=MappingProxyType({"xnnpack": 1}),  # its kernel reads a table of float exponentials
)
