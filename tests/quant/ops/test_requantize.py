import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import half_even, multiply, quantize_multiplier

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Ratio, Scales
from attokit.quant.ops.requantize import (
    kernel_ratio,
    per_channel,
    rescale,
    rescale_contraction,
)


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_rescale_rounds_as_the_kernels_do(kernels):
    ratio = np.float32([0.0123, 0.25, 0.5])  # with ties
    accumulators = np.arange(-600, 600, dtype=np.int32).reshape(-1, 3)
    (multiplier,) = fixed_point.multipliers([Ratio(first=jnp.asarray(ratio))])
    result = rescale(jnp.asarray(accumulators), multiplier, kernels)
    if kernels == "xnnpack":
        want = half_even(accumulators.astype(np.float32) * ratio)
    else:
        want = multiply(accumulators, *quantize_multiplier(ratio.astype(np.float64)))
    np.testing.assert_array_equal(result.integers, want)
    np.testing.assert_allclose(result.real, accumulators * ratio, rtol=1e-6)


def test_per_channel_broadcasts_along_the_last_axis():
    assert per_channel(jnp.ones(3), 4).shape == (1, 1, 1, 3)
    assert per_channel(jnp.float32(1), 2).shape == (1, 1)


def test_kernel_ratio_is_in_times_kernel_over_out():
    ratio = kernel_ratio(Scales(inputs=(2.0, 3.0), outputs=(4.0,)))
    assert (ratio.first, ratio.second, ratio.third) == (2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("bits", "delegated", "want"), [(8, False, -2), (4, True, -2), (4, False, -1)]
)
def test_ties_go_upwards_only_where_xnnpack_takes_no_kernel_of_four_bits(bits, delegated, want):
    (quarter,) = fixed_point.multipliers([Ratio(first=jnp.float32([0.25]))])
    scales = Scales(inputs=(1.0, 1.0), outputs=(2.0,), bits=(8, bits))
    ties = jnp.int32([[-6]])
    result = rescale_contraction(ties, quarter, "xnnpack", scales, delegated)
    assert int(result.integers[0, 0]) == want
    same = rescale_contraction(ties, quarter, "reference", scales, delegated)
    assert int(same.integers[0, 0]) == -2
