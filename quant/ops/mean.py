"""MEAN over any axes.

Attributes: `axes` (sorted, non-negative), `keepdims`.  The output has a scale of its own.
"""

import math

import jax.numpy as jnp

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Multiplier, Op, OpKind, Ratio, Rescaled, Scales


def _compute(op, values):
    return (jnp.mean(values, axis=op["axes"], keepdims=op["keepdims"]),)


def _ratios(op: Op, scales: Scales, kernels: str) -> tuple[Ratio, ...]:
    del op, kernels
    return (Ratio(first=scales.inputs[0], third=scales.outputs[0]),)


def _integer(op, kernels, integers, multipliers, scales):
    """Sums, then multiplies by the ratio of scales divided by the number of cells."""
    del kernels, scales
    (values,) = integers
    count = math.prod(values.shape[axis] for axis in op["axes"])
    total = jnp.sum(values.astype(jnp.int32), axis=op["axes"], keepdims=op["keepdims"])
    factor = fixed_point.factor(*_divided(multipliers[0], count))
    integers = fixed_point.multiply_double_rounding(total, factor)
    real = total.astype(jnp.float32) * (multipliers[0].real[0] / count)
    return (Rescaled(integers=integers, real=real),)


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


MEAN = OpKind(name="mean", compute=_compute, integer=_integer, ratios=_ratios)
