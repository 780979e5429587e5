import jax.numpy as jnp
import numpy as np
import pytest
from int16_oracles import line_table, on_lines

from attokit.quant.ops import interpolation

EVERY = np.arange(-(2**15), 2**15)


@pytest.mark.parametrize("number", [np.float64, np.float32])
@pytest.mark.parametrize(("function", "first", "last"), [(np.exp, -10, 0), (np.cos, -1, 2)])
def test_entries_and_lines_equal_the_kernels_formula(function, first, last, number):
    table = interpolation.entries(function, first, last, 32768, number)
    want = line_table(function, first, last, number)
    np.testing.assert_array_equal(table, want)
    got = interpolation.interpolated(table, jnp.asarray(EVERY, jnp.int32))
    np.testing.assert_array_equal(got, on_lines(want, EVERY))


def test_lines_stay_near_the_function():
    table = interpolation.entries(np.exp, -10, 0, 32768)
    got = interpolation.interpolated(table, jnp.asarray(EVERY, jnp.int32)) / 32768
    np.testing.assert_allclose(got, np.exp((EVERY - 32768) * 10 / 65536), atol=6e-5)
