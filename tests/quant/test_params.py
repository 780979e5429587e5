import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit.quant import params


def test_the_input_contract_is_byte_minus_128():
    entry = params.from_range(0.0, 1.0)
    assert float(entry.scale) == np.float32(1 / 255)
    assert float(entry.zero_point) == -128


@pytest.mark.parametrize(
    ("low", "high", "zero_point"),
    [(-1, 1, -0.0), (0, 6, -128), (-3, 0, 127), (2, 4, -128), (-4, -1, 127), (-1e-3, 5, -128)],
)
def test_ranges_hold_zero_and_their_ends(low, high, zero_point):
    entry = params.from_range(low, high)
    scale, zero = float(entry.scale), float(entry.zero_point)
    assert zero == zero_point
    assert zero == round(zero)
    assert scale * (-128 - zero) <= low + scale
    assert scale * (127 - zero) >= high - scale


def test_a_dead_range_has_a_usable_scale():
    entry = params.from_range(0.0, 0.0)
    assert float(entry.scale) > 0
    assert float(entry.zero_point) == 0


def test_vanishing_ranges_keep_a_normal_scale():
    assert float(params.from_range(0.0, 1e-40).scale) >= np.finfo(np.float32).tiny


def test_kernels_are_symmetric_narrow_and_per_channel():
    kernel = jnp.float32([[1.27, -5], [-1.5, 0.25], [0.025, 0.035]])
    got = params.quantize_kernel(kernel, jnp.float32([0.01, 0.01]))
    np.testing.assert_array_equal(got, [[127, -127], [-127, 25], [2, 4]])


def test_biases_round_and_saturate():
    bias, scale = jnp.float32([1.26, -1e30, 1e30]), jnp.float32([0.1, 0.1, 0.1])
    got = params.quantize_bias(bias, scale)
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, [13, -(2**31) + 128, 2**31 - 128])


def test_values_are_centred_and_clipped_with_ties_away_from_zero():
    values = jnp.float32([0.5, -0.5, 1.5, 200, -200])
    got = params.quantize_centred(values, jnp.float32(1), jnp.float32(27))
    np.testing.assert_array_equal(got, [1, -1, 2, 100, -155])


def test_kernels_of_four_bits_end_at_seven():
    kernel = jnp.float32([[-1.0, 0.04, 0.069, 2.0]])
    got = params.quantize_kernel(kernel, jnp.float32([0.1] * 4), 4)
    np.testing.assert_array_equal(got, [[-7, 0, 1, 7]])
    assert params.kernel_max(8) == 127


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 3e-5, 7.0])
def test_numpy_rounds_as_jax_does(scale):
    scale, zero = np.float32(scale), np.float32(3)
    halves = (np.arange(-400, 400, dtype=np.float32) / 2) * scale  # ties, or next to them
    values = np.concatenate([halves, np.asarray(normal(999)), np.float32([np.inf, -np.inf])])
    for function, arguments in (
        (params.quantize_kernel, (scale, 8)),
        (params.quantize_bias, (scale,)),
        (params.quantize_centred, (scale, zero, 8)),
    ):
        want = function(jnp.asarray(values), *map(jnp.asarray, arguments[:1]), *arguments[1:])
        np.testing.assert_array_equal(function(values, *arguments, np), want)


def test_ranges_of_16_bits_are_symmetric_and_keep_away_from_two_scales():
    entry = params.wide_range(-0.5, 2.0)
    assert (entry.bits, float(entry.zero_point)) == (16, 0)
    np.testing.assert_allclose(entry.scale, 2 / 32767, rtol=1e-6)
    assert float(params.wide_range(0.0, 0.0).scale) > 0
    for avoided in (2.0**-12, 2.0**-11):
        for factor in (0.9985, 1.0, 1.0015):
            scale = float(params.wide_range(0.0, 32767 * avoided * factor).scale)
            assert abs(np.log2(scale / avoided)) > 2e-3
            assert scale >= avoided * factor
        assert float(params.wide_range(0.0, 32767 * avoided * 1.003).scale) < avoided * 1.0031
