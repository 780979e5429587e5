import jax
import jax.numpy as jnp
import numpy as np
import pytest
from single_op import REFERENCE_FIRST, Case, check_int16, largest_difference


def _resized(size, method, antialias=True):
    def function(_, x):
        return jax.image.resize(x, (*x.shape[:1], *size, x.shape[3]), method, antialias=antialias)

    return function


def _aligned(*size):
    def matrix(n, m):
        place = np.arange(m) * ((n - 1) / (m - 1))
        return np.maximum(0, 1 - np.abs(place - np.arange(n)[:, None])).astype(np.float32)

    def function(_, x):
        rows, columns = (matrix(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
        return jnp.einsum("bhwc,hy,wx->byxc", x, rows, columns)

    return function


SIZES = ((8, 12), (7, 11), (13, 6), (3, 4))
CASES = (
    {
        f"{method}_{h}_{w}": Case(
            f"resize_{kind}", _resized((h, w), method, False), (), ((2, 4, 6, 3),)
        )
        for method, kind in (("bilinear", "bilinear"), ("nearest", "nearest_neighbor"))
        for h, w in SIZES
    }
    | {
        f"corners_{h}_{w}": Case("resize_bilinear", _aligned(h, w), (), ((2, 4, 6, 3),))
        for h, w in ((7, 11), (5, 6), (3, 4))
    }
    | {
        "repeated": Case("resize_nearest_neighbor", lambda _, x: jnp.repeat(x, 3, 1)),
        "bilinear_signal": Case(
            "resize_bilinear",
            lambda _, x: jax.image.resize(x, (2, 9, 3), "linear"),
            (),
            ((2, 5, 3),),
        ),
    }
)


@pytest.mark.parametrize("kernels", REFERENCE_FIRST)
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=50, seed=1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_int16_equals_the_runtime_in_many_draws_or_is_refused(name, kernels):
    check_int16(CASES[name], kernels, draws=60)
