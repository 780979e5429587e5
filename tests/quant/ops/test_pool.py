import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import largest_difference
from single_op import Case

from attokit.quant.ops import table
from attokit.quant.ops.kind import Op
from attokit.quant.ops.pool import cell_counts

_average = functools.partial(nn.avg_pool, count_include_pad=False)


def _all(variables, x):
    del variables
    return (
        _average(x, (2, 3), (2, 2), "VALID"),
        _average(2 * x, (3, 2), (2, 1), "SAME"),
        nn.max_pool(3 * x, (3, 3), (2, 2), "SAME"),
        nn.pool(4 * x, 0.0, jax.lax.add, (3, 3), (2, 2), "SAME") / jnp.float32(9),
    )


def test_integers_equal_the_kernels_formula():
    assert largest_difference(Case("average_pool_2d", _all), "reference") == 0


def _op(padding, window=(3, 2), strides=(2, 1)):
    attributes = {"window": window, "strides": strides, "padding": padding}
    return Op(kind="average_pool_2d", inputs=("x",), outputs=("y",), attributes=attributes)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [(3, 2), (4, 5), (7, 7)])
def test_cell_counts_equal_a_pool_of_ones(size, padding):
    op = _op(padding)
    ones = jnp.ones((1, *size, 1))
    total = nn.pool(ones, 0.0, jax.lax.add, op["window"], op["strides"], padding)
    np.testing.assert_allclose(cell_counts(op, *size), total, rtol=1e-6)


def test_average_rounds_stored_integers_half_away_from_zero():
    op = _op("VALID", (1, 2), (1, 1))
    kind = table.OPS["average_pool_2d"]
    stored = np.float32([[[[3], [4], [-3], [-4]]]])
    for zero_point in (0, 7, -9):

        class Scales:
            input_zero_points = (jnp.float32(zero_point),)

        centred = jnp.asarray(stored - zero_point, jnp.float32)
        (result,) = kind.integer(op, "reference", (centred,), (), Scales)
        got = np.asarray(result.integers).ravel() + zero_point
        np.testing.assert_array_equal(got, [4, 1, -4])  # 3.5, 0.5, -3.5
