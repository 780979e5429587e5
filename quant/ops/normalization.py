"""L2_NORMALIZATION over the last axis: x / sqrt(sum(x**2)).

The output's range is fixed by the spec: scale 1/128, zero point 0.  The input's scale cancels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from attokit.quant import fixed_point
from attokit.quant.fixed_point import (
    divide_by_power_of_two,
    doubling_high_multiply,
    saturating_shift,
)
from attokit.quant.ops.kind import OpKind, Rescaled

_OUTPUT_BITS = 7
_HALF_SQRT2 = 1518500250  # sqrt(1/2) in Q0.31
_THREE_HALVES = (1 << 28) + (1 << 27)  # in Q3.28


def _compute(op, values):
    """Attributes: `function` of the sum of squares, which is 1 / sqrt of it but for an epsilon."""
    total = jnp.sum(values * values, axis=-1, keepdims=True)
    factor = op["function"](jnp.where(total > 0, total, 1))
    return (values * jnp.where(total > 0, factor, 0),)  # a row of zeros stays one


def _integer(op, kernels, integers, multipliers, scales):
    del op, kernels, multipliers, scales
    values = integers[0].astype(jnp.int32)
    total = jnp.sum(values * values, axis=-1, keepdims=True, dtype=jnp.int32)
    mantissa, shift = inverse_square_root(total)
    factor = fixed_point.factor(mantissa, _OUTPUT_BITS - shift)
    return (Rescaled(integers=fixed_point.multiply_double_rounding(values, factor)),)


def inverse_square_root(
    value: Int32[Array, "*n"],
) -> tuple[Int32[Array, "*n"], Int32[Array, "*n"]]:
    """Returns m and s with m * 2**(-31 - s) ~= 1 / sqrt(value), for values from 0 on.

    Five steps of Newton's method in fixed point, as the kernels compute it; zero counts as one.
    """
    large = value >= 1 << 29
    reduced = jnp.maximum(jnp.where(large, value >> 2, value), 1)
    pairs = ((jax.lax.clz(reduced) - 1) >> 1) - 1
    shift = jnp.where(large, 12, 11) - pairs
    half = (reduced << (2 * pairs)) >> 1
    quarter = divide_by_power_of_two(half, jnp.int32(1))
    x = jnp.full_like(value, 1 << 28)
    for _ in range(5):
        square = doubling_high_multiply(x, x)
        cube = saturating_shift(doubling_high_multiply(square, x), 6)
        linear = doubling_high_multiply(jnp.full_like(x, _THREE_HALVES), x)
        x = saturating_shift(linear - doubling_high_multiply(quarter, cube), 3)
    x = doubling_high_multiply(x, jnp.full_like(x, _HALF_SQRT2))
    x, shift = x << jnp.maximum(-shift, 0), jnp.maximum(shift, 0)
    one = value <= 1
    return jnp.where(one, 2**31 - 1, x), jnp.where(one, 0, shift)


L2_NORMALIZATION = OpKind(
    name="l2_normalization", compute=_compute, integer=_integer, fixed_range=(1 / 128, 0)
)
