import jax
import jax.numpy as jnp
import numpy as np
import pytest
from int16_oracles import half_away, rescale_64

from attokit.quant import fixed_point, long_integers
from attokit.quant.long_integers import Long
from attokit.quant.ops.kind import Ratio

RNG = np.random.default_rng(0)
_EDGES = [0, 1, 2**16, 2**31, 2**32, 2**38, 2**31 - 1, 2**16 - 1, 2**32 - 1]
VALUES = np.concatenate(
    [*(RNG.integers(-(2**n), 2**n, 3000) for n in (8, 20, 31, 34, 38)), _EDGES, np.negative(_EDGES)]
)


def _long(values):
    high, low = values >> 16, values & 0xFFFF
    return Long(jnp.asarray(high.astype(np.int32)), jnp.asarray(low.astype(np.int32)))


def _number(value):
    return (np.asarray(value.high).astype(np.int64) << 16) + np.asarray(value.low)


def test_sums_products_with_powers_of_two_and_magnitudes_are_exact():
    other = RNG.permutation(VALUES)
    np.testing.assert_array_equal(_number(_long(VALUES) + _long(other)), VALUES + other)
    np.testing.assert_array_equal(_number(_long(VALUES).scaled(7)), VALUES << 7)
    high, low = (np.asarray(x).astype(np.int64) for x in _long(VALUES).magnitude())
    np.testing.assert_array_equal((high << 32) + low, np.abs(VALUES))
    np.testing.assert_allclose(_long(VALUES).real(), VALUES, rtol=2**-22)


def test_halves_are_narrow_and_join_again():
    values = np.arange(-(2**15), 2**15)
    high, low = long_integers.halves(jnp.asarray(values, jnp.float32))
    assert (high.min(), high.max(), low.min(), low.max()) == (-128, 127, 0, 255)
    joined = long_integers.joined(high.astype(jnp.int32), low.astype(jnp.int32))
    np.testing.assert_array_equal(_number(joined), values)


@jax.jit
def _rescaled(value, first, second, third):
    ratio = Ratio(first=first, second=second, third=third)
    (multiplier,) = fixed_point.multipliers([ratio])
    words = value.magnitude()
    return (
        long_integers.multiply_reduced(value, multiplier),
        fixed_point.multiply_words_as_double(words, value.high < 0, ratio),
    )


def test_rescaling_equals_64_bits_and_doubles():
    compared = 0
    for _ in range(50):
        scales = np.exp(RNG.uniform(np.log([1e-6, 1e-4, 1e-4]), np.log([1e-2, 1e-1, 1.0])))
        first, second, third = scales.astype(np.float32)
        reduced, double = map(np.asarray, _rescaled(_long(VALUES), first, second, third))
        real = np.float64(first) * np.float64(second) / np.float64(third)
        fits = np.abs(VALUES * real) < 2**31 - 2**16
        compared += fits.sum()
        np.testing.assert_array_equal(reduced[fits], rescale_64(VALUES, real)[fits])
        np.testing.assert_array_equal(double[fits], half_away(VALUES * real)[fits])
    assert compared > 300_000


@pytest.mark.parametrize("bits", [17, 20, 22])
def test_division_takes_ties_away_from_zero(bits):
    ties = (np.arange(-9, 10) << bits) + (1 << (bits - 1))
    values = np.concatenate([ties, ties + 1, ties - 1, VALUES[np.abs(VALUES) < 2**36]])
    got = long_integers.divide_by_power_of_two(_long(values), bits)
    np.testing.assert_array_equal(got, half_away(values / 2.0**bits))
