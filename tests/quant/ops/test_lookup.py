import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import entries

from attokit.quant.ops import lookup

RANGES = (np.float32(0.031), np.float32(-20)), (np.float32(0.017), np.float32(5))


@pytest.mark.parametrize("name", lookup.FUNCTIONS)
def test_the_host_s_function_is_the_one_that_jax_differentiates(name):
    x = np.linspace(-6, 6, 501, dtype=np.float32)
    x = x[x > 0] if name == "log" else x
    function = lookup.FUNCTIONS[name]
    np.testing.assert_allclose(function.host(x), function.real(x), rtol=3e-6, atol=2e-6)


@pytest.mark.parametrize("name", lookup.FUNCTIONS)
def test_tables_of_numpy_and_of_jax_agree_but_for_ties(name):
    function = lookup.FUNCTIONS[name]
    host = lookup.entries(function.host, *RANGES, np)
    traced = np.asarray(lookup.entries(function.real, *RANGES))
    assert np.abs(host - traced).max() <= 1
    assert np.count_nonzero(host != traced) <= 1


def test_a_table_rounds_half_away_from_zero_and_saturates():
    table = lookup.entries(lambda x: x * np.float32(0.5), (1.0, 0.0), (1.0, 3.0), np)
    np.testing.assert_array_equal(table, entries(lambda x: x / 2, 1.0, 0, 1.0, 3))
    steep = lookup.entries(lambda x: x * np.float32(4), (1.0, 0.0), (1.0, 0.0), np)
    assert (steep[0], steep[-1]) == (-128, 127)


@pytest.mark.parametrize("numpy", [np, jnp])
def test_where_a_function_has_no_value_the_nearest_counts(numpy):
    ranges = (numpy.float32(0.1), numpy.float32(0)), (numpy.float32(0.1), numpy.float32(0))
    with np.errstate(all="ignore"):
        root = np.asarray(lookup.entries(numpy.sqrt, *ranges, numpy))
        inverse = np.asarray(lookup.entries(lambda x: 1 / numpy.sqrt(x), *ranges, numpy))
    np.testing.assert_array_equal(root[:128], 0)
    np.testing.assert_array_equal(inverse[:129], 127)
    assert root[255] == np.rint(np.sqrt(12.7) * 10)
