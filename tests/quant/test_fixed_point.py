"""The limb arithmetic against Python's exact integers and IEEE doubles."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Ratio

RNG = np.random.default_rng(0)


def _scales(n):
    return np.exp(RNG.uniform(-12, 2, n)).astype(np.float32)


def _quantize_multiplier(real: float) -> tuple[int, int]:
    """The definition, in doubles (frexp, then half away from zero)."""
    fraction, exponent = math.frexp(real)
    mantissa = math.floor(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, exponent = 2**30, exponent + 1
    return (0, 0) if exponent < -31 else (mantissa, exponent)


def _multiplier(a, b, d):
    (result,) = fixed_point.multipliers([Ratio(first=a, second=b, third=d)])
    return {"mantissa": result.mantissa, "exponent": result.exponent}


def test_multiplier_equals_the_double_precision_definition():
    a, b = _scales(20_000), _scales(20_000)
    d = np.float32(0.0371)
    got = jax.jit(_multiplier)(a, b, d)
    want = [_quantize_multiplier(float(x) * float(y) / float(d)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(np.stack([got["mantissa"], got["exponent"]], 1), want)


def test_multiplier_of_powers_of_two_and_of_ratios_close_to_one():
    a = np.float32([1, 0.5, 2**-20, 1, np.nextafter(np.float32(1), np.float32(0)), 3])
    d = np.float32([1, 1, 1, 3, 1, 1])
    for x, y in zip(a, d, strict=True):
        (got,) = fixed_point.multipliers([Ratio(first=jnp.asarray(x), third=jnp.asarray(y))])
        want = _quantize_multiplier(float(x) / float(y))
        assert (int(got.mantissa[0]), int(got.exponent[0])) == want


def _accumulators(n, bits=24):
    return RNG.integers(-(2**bits), 2**bits, n).astype(np.int32)


def _double_rounding(x: int, m: int, e: int) -> int:
    x, right = x << max(e, 0), max(-e, 0)
    product = x * m
    nudge = 2**30 if product >= 0 else 1 - 2**30
    high = int(math.copysign(abs(product + nudge) // 2**31, product + nudge))
    mask = (1 << right) - 1
    return (high >> right) + int((high & mask) > (mask >> 1) + (high < 0))


def test_double_rounding_equals_gemmlowp_on_integers():
    x = _accumulators(20_000)
    m = RNG.integers(2**30, 2**31, 20_000).astype(np.int32)
    e = RNG.integers(-20, 5, 20_000).astype(np.int32)
    x[:4], m[:4], e[:4] = [3, -3, 5, -5], 2**30, -1  # ties in both roundings
    got = jax.jit(
        lambda x, m, e: fixed_point.multiply_double_rounding(x, fixed_point.factor(m, e))
    )(x, m, e)
    want = [_double_rounding(*map(int, row)) for row in zip(x, m, e, strict=True)]
    np.testing.assert_array_equal(got, want)


def test_doubling_high_multiply_takes_full_range_and_both_signs():
    x = RNG.integers(-(2**31), 2**31, 20_000).astype(np.int32)
    y = RNG.integers(-(2**31) + 1, 2**31, 20_000).astype(np.int32)
    x[:4], y[:4] = [2**31 - 1, -(2**31), 2**31 - 1, -1], [2**31 - 1, 2**31 - 1, 1, 2**30]
    got = jax.jit(fixed_point.doubling_high_multiply)(x, y)
    want = [(int(a) * int(b) + 2**30) >> 31 for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(got, want)


def test_divide_by_power_of_two_rounds_ties_away_from_zero_in_full_range():
    x = RNG.integers(-(2**31), 2**31, 20_000).astype(np.int32)
    n = RNG.integers(0, 32, 20_000).astype(np.int32)
    x[:4], n[:4] = [3, -3, 2**31 - 1, -(2**31)], [1, 1, 31, 31]
    got = jax.jit(fixed_point.divide_by_power_of_two)(x, n)
    want = [
        int(math.copysign(math.floor(abs(Fraction(int(a), 2 ** int(b))) + Fraction(1, 2)), int(a)))
        for a, b in zip(x, n, strict=True)
    ]
    np.testing.assert_array_equal(got, want)


def _as_double(x: int, real: float) -> int:
    product = Fraction(float(x) * real)  # the double itself, exactly
    return int(math.copysign(math.floor(abs(product) + Fraction(1, 2)), product))


def test_multiply_as_double_equals_ieee_doubles():
    x = _accumulators(20_000, 22)
    a, b = _scales(20_000), _scales(20_000)
    d = np.float32(_scales(1)[0] * 400)
    got = jax.jit(
        lambda x, a, b, d: fixed_point.multiply_as_double(x, Ratio(first=a, second=b, third=d))
    )(x, a, b, d)
    reals = a.astype(np.float64) * b.astype(np.float64) / np.float64(d)
    want = np.array([_as_double(int(i), float(r)) for i, r in zip(x, reals, strict=True)])
    small = np.abs(want) < 2**30
    np.testing.assert_array_equal(np.asarray(got)[small], want[small])


@pytest.mark.slow
def test_multiply_as_double_takes_ties_that_only_doubles_see():
    # 1/3 and 1/6 are rounded in a double; three times it is 0.5 or 1 again after rounding.
    x = np.arange(-300, 300, dtype=np.int32)
    for divisor in (3, 6, 10, 14, 24, 36):
        d = jnp.float32(divisor)
        got = fixed_point.multiply_as_double(x, Ratio(first=jnp.float32(1), third=d))
        want = [_as_double(int(i), 1.0 / divisor) for i in x]
        np.testing.assert_array_equal(got, want)


def test_round_half_away_takes_ties_outwards():
    values = np.float32([-2.5, -1.5, -0.5, -0.4, 0.5, 1.5, 2.5, 0.49999997, 8388609])
    got = fixed_point.round_half_away(values)
    np.testing.assert_array_equal(got, np.float32([-3, -2, -1, 0, 1, 2, 3, 0, 8388609]))


def test_a_shift_saturates():
    values = jnp.asarray([3, -3, 2**29, 2**29 - 1, -(2**29), -(2**29) - 1], jnp.int32)
    wanted = [12, -12, 2**31 - 1, 2**31 - 4, -(2**31), -(2**31)]
    assert fixed_point.saturating_shift(values, 2).tolist() == wanted


def test_product_is_rounded_before_it_is_subtracted_and_the_difference_added():
    """LLVM turns a - (b * c + 0) + d * e into two fused operations, which rounds once less."""
    totals = np.arange(-4000, 4000, dtype=np.float32)
    ratio, low, high = np.float32(3.4354), np.float32(23), np.float32(38)

    def mean_of_six(totals, ratio, low, high):
        factor = fixed_point.product(ratio, jnp.float32(1 / 6))
        return fixed_point.product(totals, factor) + (high - fixed_point.product(low * 6, factor))

    factor = ratio * np.float32(1 / 6)
    want = totals * factor + (high - low * np.float32(6) * factor)
    np.testing.assert_array_equal(jax.jit(mean_of_six)(totals, ratio, low, high), want)
