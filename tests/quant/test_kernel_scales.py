import numpy as np
import pytest

from attokit.quant.kernel_scales import METHODS, kernel_scale

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(3, 3, 8, 6)) * np.exp(RANDOM.normal(size=6))


def _error(scale):
    return np.mean((np.clip(np.rint(KERNEL / scale), -127, 127) * scale - KERNEL) ** 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_scales_are_positive_and_never_wider_than_the_kernel(method, per_channel):
    scale = kernel_scale(KERNEL, None, 0.1, per_channel, method)
    assert scale.shape == (6,) and scale.dtype == np.float32
    assert (scale > 0).all()
    peak = np.abs(KERNEL).max((0, 1, 2)) if per_channel else np.abs(KERNEL).max()
    assert (scale <= peak / 127 * 1.000001).all()
    assert (np.unique(scale).size == 1) is not per_channel


def test_minmax_covers_the_kernel_and_mse_has_the_least_error():
    covering = kernel_scale(KERNEL, None, 0.1, True)
    np.testing.assert_allclose(covering * 127, np.abs(KERNEL).max((0, 1, 2)), rtol=1e-6)
    best = _error(kernel_scale(KERNEL, None, 0.1, True, "mse"))
    assert all(best <= _error(kernel_scale(KERNEL, None, 0.1, True, m)) * 1.0001 for m in METHODS)


def test_learning_starts_at_the_published_scales():
    heavy = KERNEL * (1 + 99 * (RANDOM.uniform(size=KERNEL.shape) < 0.001))  # outliers
    rows = heavy.reshape(-1, 6)
    covering = np.abs(rows).max(0) / 127
    lsq = np.minimum(2 * np.abs(rows).mean(0) / np.sqrt(127), covering)
    np.testing.assert_allclose(kernel_scale(heavy, None, 0.1, True, "lsq"), lsq, rtol=1e-6)
    reach = np.abs(rows.mean(0)) + 3 * rows.std(0)
    plus = np.minimum(reach / 127, covering)
    np.testing.assert_allclose(kernel_scale(heavy, None, 0.1, True, "lsq+"), plus, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_kernels_of_zeros_and_large_biases_have_scales(method, per_channel):
    bias = np.array([0, 1, 0, 1e6, 0, 0])
    scale = kernel_scale(np.zeros((2, 6)), bias, 1e-4, per_channel, method)
    assert np.isfinite(scale).all() and (scale > 0).all()
    assert (np.abs(bias) / (1e-4 * scale.astype(np.float64)) < 2**31).all()
