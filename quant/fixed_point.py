"""The fixed-point arithmetic of TFLite's kernels, bit for bit, in 32-bit integers.

Kernels multiply int32 accumulators by a real ratio of scales.  They compute the ratio in double
precision, keep 31 bits of it, and round the 64-bit product twice.  JAX has neither
doubles nor 64-bit integers by default (and TPUs have no IEEE doubles at all), so both are done
here on limbs of 32-bit integers; everything vectorizes and jits.

Source: gemmlowp fixed-point arithmetic as used by TFLite's `MultiplyByQuantizedMultiplier`, and
`QuantizeMultiplier`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, UInt32

from attokit.quant.ops.kind import Factor, Multiplier, Ratio

_LIMB = 0xFFFF


@dataclasses.dataclass(frozen=True)
class _Quotient:
    """A ratio to 57 bits: value = (high * 2**32 + low) * 2**exponent, plus a sticky remainder.

    Invariant: high is in [2**24, 2**25).
    """

    high: UInt32[Array, "*c"]
    low: UInt32[Array, "*c"]
    inexact: Array
    exponent: Int32[Array, "*c"]


def split(value: Float[Array, "*c"]) -> tuple[UInt32[Array, "*c"], Int32[Array, "*c"]]:
    """Returns m in [2**23, 2**24) and e with value == m * 2**e, for positive normal floats."""
    bits = jax.lax.bitcast_convert_type(value, jnp.uint32)
    mantissa = (bits & jnp.uint32(0x7FFFFF)) | jnp.uint32(0x800000)
    return mantissa, (bits >> 23).astype(jnp.int32) - 150


def _divide(
    first: Float[Array, "*c"], second: Float[Array, "*c"], third: Float[Array, "*c"]
) -> _Quotient:
    """Returns first * second / third by schoolbook division, one byte at a time."""
    (m1, e1), (m2, e2), (divisor, e3) = split(first), split(second), split(third)
    low12 = jnp.uint32(0xFFF)
    cross = (m1 >> 12) * (m2 & low12) + (m1 & low12) * (m2 >> 12)
    low = (m1 & low12) * (m2 & low12) + ((cross & low12) << 12)
    product_high = (m1 >> 12) * (m2 >> 12) + (cross >> 12) + (low >> 24)
    product_low = low & jnp.uint32(0xFFFFFF)

    digits = [product_high // divisor]
    remainder = product_high % divisor
    for shift in (16, 8, 0, None, None, None, None):
        byte = jnp.uint32(0) if shift is None else (product_low >> shift) & jnp.uint32(0xFF)
        remainder = (remainder << 8) | byte
        digits.append(remainder // divisor)
        remainder = remainder % divisor
    whole = (digits[0] << 24) | (digits[1] << 16) | (digits[2] << 8) | digits[3]
    part = (digits[4] << 24) | (digits[5] << 16) | (digits[6] << 8) | digits[7]
    lack = jnp.where(whole < jnp.uint32(1 << 23), 2, jnp.where(whole < jnp.uint32(1 << 24), 1, 0))
    up = lack.astype(jnp.uint32)
    high = (whole << up) | jnp.where(lack > 0, part >> (32 - up), 0)
    return _Quotient(high, part << up, remainder != 0, e1 + e2 - e3 - 32 - lack)


def multipliers(
    ratios: Sequence[Ratio], once: Callable[[Callable[[], Any]], Any] = lambda make: make()
) -> list[Multiplier]:
    """Returns the 31-bit multipliers that kernels make of ratios of scales, all in one go.

    The double that a kernel computes is rounded twice, to 53 bits and to 31; both roundings are
    reproduced.

    Args:
      ratios: Of positive normal float32 values, scalars or vectors.
      once: Calls the function it is given; may see to it that the result is not computed again
        by everything that reads it.
    """
    if not ratios:
        return []
    operands = [_operands(ratio) for ratio in ratios]
    sizes = [first.size for first, _, _ in operands]
    exponents = np.repeat([ratio.exponent for ratio in ratios], sizes)

    def make() -> dict[str, Any]:
        first, second, third = map(jnp.concatenate, zip(*operands, strict=True))
        return _as_kernels_hold(first, second, third, exponents)

    whole, results, start = once(make), [], 0
    for ratio, size in zip(ratios, sizes, strict=True):
        part = jax.tree.map(lambda x, i=start, n=size: x[i : i + n], whole)
        results.append(Multiplier(**part, ratio=ratio))
        start += size
    return results


def _as_kernels_hold(
    first: Float[Array, " c"],
    second: Float[Array, " c"],
    third: Float[Array, " c"],
    exponents: np.ndarray,
) -> dict[str, Any]:
    """Returns first * second / third * 2**exponents as the fields of a `Multiplier`."""
    mantissa, exponent = _mantissa_and_exponent(first, second, third)
    exponent = exponent + jnp.asarray(exponents, jnp.int32)
    vanishes = exponent < -30  # (kernels: -31; the product is below 1/2 all the same)
    mantissa = jnp.where(vanishes, 0, mantissa)
    exponent = jnp.where(vanishes, 0, exponent)
    real = first * second / third * jnp.asarray(2.0**exponents, jnp.float32)
    return {
        "mantissa": mantissa,
        "exponent": exponent,
        "factor": factor(mantissa, exponent),
        "real": real,
    }


def _mantissa_and_exponent(
    first: Float[Array, " c"], second: Float[Array, " c"], third: Float[Array, " c"]
) -> tuple[Int32[Array, " c"], Int32[Array, " c"]]:
    quotient = _divide(first, second, third)
    # 31 bits are kept; the 22 after them survive in the double and the next one rounds it.
    kept = (quotient.high << 6) | (quotient.low >> 26)
    rest = (quotient.low >> 3) & jnp.uint32(0x7FFFFF)
    kept = kept + (rest >= jnp.uint32((1 << 22) - 1)).astype(jnp.uint32)
    carried = kept >> 31
    mantissa = jnp.where(carried > 0, jnp.uint32(1 << 30), kept).astype(jnp.int32)
    return mantissa, quotient.exponent + 57 + carried.astype(jnp.int32)


def _operands(ratio: Ratio) -> tuple[Array, Array, Array]:
    """Returns the three factors in one shape."""
    one = jnp.float32(1)
    first = ratio.first
    second = one if ratio.second is None else ratio.second
    third = one if ratio.third is None else ratio.third
    if ratio.single:
        first, second, third = first * second / third, one, one
    first, second, third = jnp.broadcast_arrays(*map(_rank_one, (first, second, third)))
    return first, second, third


def _rank_one(value: Array) -> Float[Array, " c"]:
    return jnp.reshape(jnp.asarray(value, jnp.float32), (-1,))


def doubling_high_multiply(
    value: Int32[Array, "*n"], factor: Int32[Array, "*n"]
) -> Int32[Array, "*n"]:
    """Returns round(value * factor / 2**31), ties toward plus infinity.

    Any operands but one pair, (-2**31)**2, whose result no int32 holds and no kernel forms.
    """
    value_high, value_low = value >> 16, value & _LIMB
    factor_high, factor_low = factor >> 16, factor & _LIMB
    low = (value_low.astype(jnp.uint32) * factor_low.astype(jnp.uint32)) >> 16
    first = value_high * factor_low
    second = value_low * factor_high + low.astype(jnp.int32)
    carry = (first & _LIMB) + (second & _LIMB)
    high = value_high * factor_high + (first >> 16) + (second >> 16)
    return (high << 1) + ((carry + (1 << 14)) >> 15)


def divide_by_power_of_two(
    value: Int32[Array, "*n"], exponent: Int32[Array, "*n"]
) -> Int32[Array, "*n"]:
    """Returns round(value / 2**exponent), ties away from zero, for exponents in [0, 31]."""
    mask = (jnp.int32(1) << exponent) - 1
    threshold = (mask >> 1) + (value < 0).astype(jnp.int32)
    return (value >> exponent) + ((value & mask) > threshold).astype(jnp.int32)


def factor(mantissa: Int32[Array, "*c"], exponent: Int32[Array, "*c"]) -> Factor:
    """Returns what `multiply_double_rounding` needs of mantissa * 2**(exponent - 31).

    Args:
      mantissa: In [2**30, 2**31), or 0.
      exponent: At least -30.
    """
    right = jnp.maximum(-exponent, 0)
    return Factor(
        left=jnp.maximum(exponent, 0),
        high=mantissa >> 16,
        low=mantissa & _LIMB,
        right=right,
        half=(jnp.int32(1) << right) >> 1,
        away=jnp.where(right > 0, jnp.int32(-1), jnp.int32(0)),
    )


def multiply_double_rounding(value: Int32[Array, "*n"], by: Factor) -> Int32[Array, "*n"]:
    """Returns the value times the factor, rounded as gemmlowp does (twice).

    The value is split at bit 16 into signed halves, so that no sum of partial products leaves 32
    bits: `doubling_high_multiply` and `divide_by_power_of_two` in fewer steps, for smaller values.

    Args:
      value: Shifted left by `by.left` it must stay below 2**30 in magnitude.
      by: Of shapes that broadcast against the value.
    """
    value = value << by.left
    low = (value << 16) >> 16
    high = (value - low) >> 16
    middle = low * by.high + ((low * by.low) >> 16) + high * by.low
    product = ((high * by.high) << 1) + ((middle + (1 << 14)) >> 15)
    return (product + by.half + ((product >> 31) & by.away)) >> by.right


def multiply_as_double(value: Int32[Array, "*n"], ratio: Ratio) -> Int32[Array, "*n"]:
    """Returns std::round(double(value) * double(ratio)): ties away from zero.

    The ratio and the product are both rounded to 53 bits before the last rounding, as the kernel
    that does this (LiteRT's reference FULLY_CONNECTED) computes in doubles.

    Args:
      value: Below 2**31 in magnitude.
      ratio: Scalar, or one value per entry of the last axis.
    """
    low = jnp.abs(value).astype(jnp.uint32)
    return multiply_words_as_double((jnp.zeros_like(low), low), value < 0, ratio)


def multiply_words_as_double(
    words: tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]],
    negative: Bool[Array, "*n"],
    ratio: Ratio,
) -> Int32[Array, "*n"]:
    """Returns the same of a longer value.

    Args:
      words: High and low 32 bits of its magnitude, below 2**43.
      negative: Whether it is below zero.
      ratio: As in `multiply_as_double`.
    """
    quotient = _divide(*_operands(ratio))
    shape = (1,) * (negative.ndim - 1) + (-1,)
    factor, exponent = jax.tree.map(lambda x: x.reshape(shape), _round_to_53_bits(quotient))
    product = _multiply_wide(words, factor)
    point = jnp.clip(-(exponent + ratio.exponent), 1, 95)  # bits right of the binary point
    top = _bit_length(product) - 1
    # Half a unit of the double's last place turns "just below a tie" into the tie.
    product = _add_bit(product, jnp.maximum(top - 53, 0), top >= 53)
    product = _add_bit(product, point - 1, jnp.ones_like(point, dtype=bool))
    rounded = _shift_right(product, point)
    return jnp.where(negative, -rounded, rounded)


def _round_to_53_bits(quotient: _Quotient) -> tuple[tuple[Array, Array], Array]:
    """Returns the 53-bit mantissa (high 21 bits, low 32 bits) and its exponent."""
    low = (quotient.low >> 4) | (quotient.high << 28)
    high = quotient.high >> 4
    guard = (quotient.low >> 3) & jnp.uint32(1)
    sticky = ((quotient.low & jnp.uint32(7)) != 0) | quotient.inexact
    up = guard & (sticky.astype(jnp.uint32) | (low & jnp.uint32(1)))
    rounded = low + up
    return (high + (rounded < low).astype(jnp.uint32), rounded), quotient.exponent + 4


def _multiply_wide(
    value: tuple[Array, Array], words: tuple[Array, Array]
) -> tuple[Array, Array, Array]:
    """Returns the product of integers of two words each, as 32-bit words, lowest first."""
    high0, low0 = _multiply_unsigned(value[1], words[1])
    high1, low1 = _multiply_unsigned(value[1], words[0])
    high2, low2 = _multiply_unsigned(value[0], words[1])
    partial = high0 + low1
    middle = partial + low2
    carries = (partial < high0).astype(jnp.uint32) + (middle < partial).astype(jnp.uint32)
    return low0, middle, high1 + high2 + value[0] * words[0] + carries


def _multiply_unsigned(first: Array, second: Array) -> tuple[Array, Array]:
    """Returns the unsigned 64-bit product of two uint32 as high and low words."""
    limb = jnp.uint32(_LIMB)
    low = (first & limb) * (second & limb)
    middle = (first >> 16) * (second & limb) + (low >> 16)
    other = (first & limb) * (second >> 16) + (middle & limb)
    high = (first >> 16) * (second >> 16) + (middle >> 16) + (other >> 16)
    return high, (other << 16) | (low & limb)


def _bit_length(words: tuple[Array, Array, Array]) -> Int32[Array, "*n"]:
    """Returns the number of bits of a 96-bit integer (0 for 0)."""
    length = jnp.zeros(words[0].shape, jnp.int32)
    for i, word in enumerate(words):
        bits = 32 - jax.lax.clz(word).astype(jnp.int32)
        length = jnp.where(bits > 0, bits + 32 * i, length)
    return length


def _add_bit(
    words: tuple[Array, Array, Array], position: Array, condition: Array
) -> tuple[Array, Array, Array]:
    """Returns the 96-bit integer plus 2**position where the condition holds."""
    bit = jnp.where(condition, jnp.uint32(1), jnp.uint32(0)) << (position % 32).astype(jnp.uint32)
    out, carry = [], jnp.uint32(0)
    for i, word in enumerate(words):
        addend = jnp.where(position // 32 == i, bit, jnp.uint32(0))
        total = word + addend
        overflow = (total < word).astype(jnp.uint32)
        summed = total + carry
        carry = overflow | (summed < total).astype(jnp.uint32)
        out.append(summed)
    return out[0], out[1], out[2]


def _shift_right(words: tuple[Array, Array, Array], count: Array) -> Int32[Array, "*n"]:
    """Returns the low 31 bits of a 96-bit integer shifted right by 1 to 95."""
    padded = (*words, jnp.zeros_like(words[0]))
    index, shift = count // 32, (count % 32).astype(jnp.uint32)
    low = jnp.select([index == i for i in range(3)], padded[:3], jnp.uint32(0))
    high = jnp.select([index == i for i in range(3)], padded[1:], jnp.uint32(0))
    carried = jnp.where(shift > 0, high << ((32 - shift) & jnp.uint32(31)), jnp.uint32(0))
    return (((low >> shift) | carried) & jnp.uint32(0x7FFFFFFF)).astype(jnp.int32)


def product(first: Float[Array, "*n"], second: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns first * second, rounded to float32 even where the result is added or subtracted.

    XLA fuses a product into the sum that reads it, unrounded, through an addition of zero too; a maximum
    with the least finite number stands between them and changes no finite product.
    """
    return jnp.maximum(first * second, jnp.finfo(jnp.float32).min)


def round_half_away(value: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns std::round(value): the nearest integer, ties away from zero."""
    return jax.lax.round(value, jax.lax.RoundingMethod.AWAY_FROM_ZERO)


def saturating_shift(value: Int32[Array, "*n"], bits: int) -> Int32[Array, "*n"]:
    """Returns value * 2**bits, or the int32 nearest to it."""
    limit = (2**31 - 1) >> bits
    shifted = jnp.where(value > limit, jnp.int32(2**31 - 1), value << bits)
    return jnp.where(value < -limit - 1, jnp.int32(-(2**31)), shifted)
