"""MEAN over any axes.

Attributes: `axes` (sorted, non-negative), `keepdims`.  The output has a scale of its own.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Multiplier, Op, OpKind, Ratio, Rescaled, Scales, Wide


def _compute(op, values):
    return (jnp.mean(values, axis=op["axes"], keepdims=op["keepdims"]),)


def _ratios(op: Op, scales: Scales, kernels: str) -> tuple[Ratio, ...]:
    del op, kernels
    return (Ratio(first=scales.inputs[0], third=scales.outputs[0]),)


def _integer(op, kernels, integers, multipliers, scales):
    """Sums, then multiplies by the ratio of scales divided by the number of cells."""
    (values,) = integers
    count = math.prod(values.shape[axis] for axis in op["axes"])
    total = _total(op, values)
    factor = fixed_point.factor(*_divided(multipliers[0], count))
    result = fixed_point.multiply_double_rounding(total, factor)
    if kernels == "xnnpack":
        result = _xnnpack_mean(total, count, multipliers[0].real[0], scales)
    real = total.astype(jnp.float32) * (multipliers[0].real[0] / count)
    return (Rescaled(integers=result, real=real),)


def _integer_wide(op, kernels, integers, multipliers, scales):
    """The reference form; sums reach the ends of int32."""
    del kernels, scales
    (values,) = integers
    count = math.prod(values.shape[axis] for axis in op["axes"])
    total = _total(op, values)
    mantissa, exponent = _divided(multipliers[0], count)
    result = fixed_point.doubling_high_multiply(total << jnp.maximum(exponent, 0), mantissa)
    result = fixed_point.divide_by_power_of_two(result, jnp.maximum(-exponent, 0))
    real = total.astype(jnp.float32) * (multipliers[0].real[0] / count)
    return (Rescaled(integers=result, real=real),)


def _total(op: Op, values: Array) -> Int32[Array, "..."]:
    values = values.astype(jnp.int32)
    return jnp.sum(values, axis=op["axes"], keepdims=op["keepdims"], dtype=jnp.int32)


def _xnnpack_mean(
    total: Int32[Array, "..."], count: int, ratio: Float[Array, ""], scales: Scales
) -> Float[Array, "..."]:
    """Multiplies the sum of stored integers in float32; both zero points are within the rounding."""
    zero_in, zero_out = scales.input_zero_points[0], scales.output_zero_points[0]
    factor = fixed_point.product(ratio, jnp.float32(1 / count))
    stored = (total + (zero_in * count).astype(jnp.int32)).astype(jnp.float32)
    shift = zero_out - fixed_point.product(zero_in * count, factor)
    return jnp.round(fixed_point.product(stored, factor) + shift) - zero_out


def _divided(multiplier: Multiplier, count: int):
    """Returns the multiplier over `count`, as the kernel does: (mantissa << s) // count."""
    exponent = multiplier.exponent[0]
    shift = jnp.minimum(int(math.log2(count)), 31 + exponent)
    quotient = multiplier.mantissa[0] // count
    remainder = multiplier.mantissa[0] % count
    left = shift
    for _ in range(3):  # eight bits a time, so that the remainder never leaves 31 bits
        step = jnp.minimum(left, 8)
        remainder = remainder << step
        quotient = (quotient << step) + remainder // count
        remainder, left = remainder % count, left - step
    return quotient, exponent - shift


MEAN = OpKind(
    name="mean",
    compute=_compute,
    integer=_integer,
    ratios=_ratios,
    homogeneous="jointly",
    wide=Wide(integer=_integer_wide),
)
