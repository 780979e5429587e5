"""SOFTMAX and LOG_SOFTMAX over the last axis, on gemmlowp's fixed-point functions.

The outputs' ranges are fixed by the spec: scale 1/256 and zero point -128, scale 16/256 and 127.
"""

from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from attokit.quant.fixed_point import (
    divide_by_power_of_two,
    doubling_high_multiply,
    saturating_shift,
)
from attokit.quant.ops import interpolation
from attokit.quant.ops.fixed_functions import MAX, exp_negative, one_over_one_plus
from attokit.quant.ops.kind import Kernels, Multiplier, Op, OpKind, Ratio, Rescaled, Scales, Wide
from attokit.quant.ops.requantize import rescale

_DIFFERENCE_BITS = 26  # scaled differences are Q5.26
_ACCUMULATION_BITS = 12  # the sum of exponentials is Q12.19
# Of int16.  TFLite Micro fills its tables in float32, which moves two entries of the second.
_WIDE_EXP = interpolation.entries(np.exp, -10, 0, 32768)
_WIDE_RECIPROCAL = {
    kernels: interpolation.entries(lambda x: 1 / (1 + x), 0, 1, 32768, number)
    for kernels, number in (("reference", np.float64), ("micro", np.float32))
}


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
    total = _sum_of_rows(divide_by_power_of_two(exponentials, jnp.int32(_ACCUMULATION_BITS)))
    headroom = jax.lax.clz(total)
    fraction = (total << headroom) + jnp.int32(-(2**31))  # the leading 1 drops out
    inverse = one_over_one_plus(fraction)
    shift = jnp.clip(_ACCUMULATION_BITS - headroom + 31 - 8, 0, 31)
    result = divide_by_power_of_two(doubling_high_multiply(inverse, exponentials), shift)
    return (Rescaled(integers=result),)


def _sum_of_rows(values: Int32[Array, "*b n"]) -> Int32[Array, "*b 1"]:
    return jnp.sum(values, axis=-1, keepdims=True, dtype=jnp.int32)  # int64 where JAX has it


def _wide_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """Of differences to places in the table of exponentials, which reaches down to -10."""
    del op, kernels
    return (Ratio(first=scales.inputs[0], second=jnp.float32(65535), third=jnp.float32(10)),)


def _integer_wide(op, kernels, integers, multipliers, scales):
    """Exponentials and the reciprocal of their sum by interpolation."""
    del op, scales
    values = integers[0].astype(jnp.int32)
    difference = values - jnp.max(values, axis=-1, keepdims=True)  # in [-65535, 0]
    place = rescale(difference, multipliers[0], "reference").integers + 32767
    exponentials = interpolation.interpolated(_WIDE_EXP, jnp.clip(place, -32768, 32767))
    total = _sum_of_rows(exponentials)
    headroom = jax.lax.clz(total)
    normal = (total << (headroom - 1)).astype(jnp.uint32)
    place = ((normal + (1 << 13)) >> 14).astype(jnp.int32) - ((1 << 15) + (1 << 16))
    table = _WIDE_RECIPROCAL["micro" if kernels == "micro" else "reference"]
    reciprocal = interpolation.interpolated(table, jnp.clip(place, -32768, 32767))
    shift = 31 - headroom
    return (Rescaled(integers=(exponentials * reciprocal + ((1 << shift) >> 1)) >> shift),)


def _exponential_table(multiplier: Multiplier) -> Int32[Array, "256"]:
    """Returns exp(-s * d) in Q0.31 for d = 0 … 255, zero where the kernel leaves it out."""
    return jnp.where(
        _kept(multiplier),
        exp_negative(_scaled_differences(multiplier), fraction=_DIFFERENCE_BITS),
        0,
    )


def _scaled_differences(multiplier: Multiplier) -> Int32[Array, "256"]:
    """Returns -s * d in Q5.26 for d = 0 … 255, the least number where it does not fit."""
    exponent, mantissa = _clipped(multiplier)
    scaled = doubling_high_multiply((-jnp.arange(256, dtype=jnp.int32)) << exponent, mantissa)
    return jnp.where(_kept(multiplier), scaled, jnp.int32(-(2**31)))


def _kept(multiplier: Multiplier) -> Bool[Array, "256"]:
    """Tells which differences the kernel takes into account."""
    return jnp.arange(256, dtype=jnp.int32) <= (jnp.int32(31 << 26) >> _clipped(multiplier)[0])


def _clipped(multiplier: Multiplier) -> tuple[Int32[Array, ""], Int32[Array, ""]]:
    """Returns exponent and mantissa; at scales beyond 32 the kernel clips the multiplier."""
    overflows = multiplier.exponent[0] > 31
    exponent = jnp.where(overflows, 31, multiplier.exponent[0])
    return exponent, jnp.where(overflows, jnp.int32(MAX), multiplier.mantissa[0])


def _compute_log(op, values):
    del op
    return (jax.nn.log_softmax(values, axis=-1),)


def _integer_log(op, kernels, integers, multipliers, scales):
    del op
    if kernels == "xnnpack":  # it leaves the op to a kernel of LiteRT's that computes in floats
        return (Rescaled(integers=_float_log(integers[0], scales)),)
    values = integers[0].astype(jnp.int32)
    difference = jnp.max(values, axis=-1, keepdims=True) - values  # in [0, 255]
    exponentials = _exponential_table(multipliers[0])[difference]
    total = _sum_of_rows(divide_by_power_of_two(exponentials, jnp.int32(_ACCUMULATION_BITS)))
    # Below -17 the output is the least integer whatever the logarithm, which is positive.
    own = jnp.maximum(_scaled_differences(multipliers[0])[difference], -17 << _DIFFERENCE_BITS)
    return (Rescaled(integers=divide_by_power_of_two(own - _log(total), jnp.int32(22))),)


def _float_log(values: Float[Array, "... n"], scales: Scales) -> Float[Array, "... n"]:
    """Returns the rounded float logarithm in units of 1/16."""
    scale, unit = scales.inputs[0], jnp.float32(1 / 16)
    peak = jnp.max(values, axis=-1, keepdims=True)
    total = jnp.sum(jnp.exp(scale * (values - peak)), axis=-1, keepdims=True)
    zero_point = scales.input_zero_points[0]
    offset = (scale * (peak + zero_point) + jnp.log(total)) / unit
    return jnp.round(scale / unit * (values + zero_point) - offset)


def _log(value: Int32[Array, "..."]) -> Int32[Array, "..."]:
    """Returns log(value) in Q5.26 for value >= 1 in Q12.19.

    The value is r * 2**k with r near 1, where a Padé approximant is good; of two such forms, whose
    r differ by the root of 2, the kernel takes the one with the smaller.
    """
    multiply, root, center = doubling_high_multiply, jnp.int32(1518500250), jnp.int32(1805811301)
    headroom = jax.lax.clz(value)
    first = saturating_shift(multiply(_shifted(value, headroom - 1), root), 1)
    first_power = ((_ACCUMULATION_BITS - headroom) << 25) + (1 << 23)
    headroom = jax.lax.clz(multiply(value, root)) - 1
    second_power = ((_ACCUMULATION_BITS - headroom) << 25) - (1 << 23)
    r = jnp.minimum(first, _shifted(value, headroom))
    power = jnp.maximum(first_power, second_power)
    half_sum = (r >> 1) + (center >> 1) + (((r & 1) + (center & 1) + 1) >> 1)
    q = (r - center) * 2
    square = multiply(q, q)
    numerator = multiply(q, r) + multiply(multiply(q, square), jnp.int32(117049297))
    inner = jnp.int32(1057819769) + q + multiply(jnp.int32(127690142), square)
    denominator = multiply(half_sum, inner) + multiply(jnp.int32(638450708), q)
    fraction = multiply(
        divide_by_power_of_two(numerator, jnp.int32(6)), one_over_one_plus(denominator)
    )
    return saturating_shift(multiply(power, jnp.int32(1488522236)) + fraction, 1)


def _shifted(value: Int32[Array, "..."], bits: Int32[Array, "..."]) -> Int32[Array, "..."]:
    """Returns value * 2**bits, saturating."""
    return jnp.where(value > (jnp.int32(MAX) >> bits), jnp.int32(MAX), value << bits)


SOFTMAX = OpKind(
    name="softmax",
    compute=_compute,
    integer=_integer,
    ratios=_ratios,
    fixed_range=(1 / 256, -128),
    wide=Wide(integer=_integer_wide, ratios=_wide_ratios),
    bounds=MappingProxyType({"xnnpack": 1}),  # its kernel reads a table of float exponentials
)
LOG_SOFTMAX = OpKind(
    name="log_softmax",
    compute=_compute_log,
    integer=_integer_log,
    ratios=_ratios,
    fixed_range=(16 / 256, 127),
    bounds=MappingProxyType({"xnnpack": 1}),  # float logarithms differ in the last bit
)
