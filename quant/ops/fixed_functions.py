"""Exponential, reciprocal, logistic and tanh in fixed point, as gemmlowp computes them, to the last bit.

Qm.n is an int32 in units of 2**-n. TFLite's reference kernels of softmax and TFLite Micro's of logistic and tanh
are made of these.
"""

import jax.numpy as jnp
from jaxtyping import Array, Int32

from attokit.quant.fixed_point import (
    divide_by_power_of_two,
    doubling_high_multiply,
    saturating_shift,
)

MAX = 2**31 - 1
# exp(-2**(k - 2)) in Q0.31, k from 0 on.
_EXP_OF_BITS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def exp_negative(value: Int32[Array, "*n"], *, fraction: int) -> Int32[Array, "*n"]:
    """Returns exp(value) in Q0.31.

    Args:
      value: At most 0.
      fraction: Bits of its fraction, at least 26.
    """
    quarter = 1 << (fraction - 2)
    reduced = (value & (quarter - 1)) - quarter
    remainder = reduced - value
    result = _exp_in_last_quarter(reduced << (31 - fraction))
    for bit, factor in enumerate(_EXP_OF_BITS[: 33 - fraction], fraction - 2):
        shrunk = doubling_high_multiply(result, jnp.int32(factor))
        result = jnp.where((remainder & (1 << bit)) != 0, shrunk, result)
    return jnp.where(value == 0, jnp.int32(MAX), result)


def _exp_in_last_quarter(value: Int32[Array, "*n"]) -> Int32[Array, "*n"]:
    """Returns exp(value) in Q0.31 for value in [-1/4, 0): Taylor around -1/8."""
    constant, third = jnp.int32(1895147668), jnp.int32(715827883)  # exp(-1/8), 1/3
    x = value + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    tail = doubling_high_multiply(divide_by_power_of_two(x4, jnp.int32(2)) + x3, third) + x2
    tail = divide_by_power_of_two(tail, jnp.int32(1))
    return constant + doubling_high_multiply(constant, x + tail)


def one_over_one_plus(value: Int32[Array, "*n"]) -> Int32[Array, "*n"]:
    """Returns 1 / (1 + value) in Q0.31 for value in [0, 1)."""
    return saturating_shift(_two_over_one_plus(value), 1)


def _two_over_one_plus(value: Int32[Array, "*n"]) -> Int32[Array, "*n"]:
    """Returns 2 / (1 + value) in Q2.29: three Newton steps."""
    half = (value >> 1) + (1 << 30)  # half of value + 1, whose sum does not fit in 31 bits
    x = jnp.int32(1515870810) + doubling_high_multiply(half, jnp.int32(-1010580540))
    for _ in range(3):
        error = jnp.int32(1 << 29) - doubling_high_multiply(half, x)
        x = x + saturating_shift(doubling_high_multiply(x, error), 2)
    return x


def logistic(value: Int32[Array, "*n"]) -> Int32[Array, "*n"]:
    """Returns the logistic function in Q0.31 of a value in Q4.27."""
    positive = one_over_one_plus(exp_negative(-jnp.abs(value), fraction=27))
    result = jnp.where(value > 0, positive, MAX - positive)
    return jnp.where(value == 0, jnp.int32(1 << 30), result)


def tanh(value: Int32[Array, "*n"]) -> Int32[Array, "*n"]:
    """Returns the hyperbolic tangent in Q0.31 of a value in Q4.27."""
    # Twice the value in Q5.26 is the same integer.
    quotient = _two_over_one_plus(exp_negative(-jnp.abs(value), fraction=26))
    magnitude = saturating_shift(quotient - (1 << 29), 2)
    return jnp.sign(value) * magnitude
