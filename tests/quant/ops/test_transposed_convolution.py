import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import contract, largest_difference
from single_op import Case

from attokit.quant.ops import table
from attokit.quant.ops.kind import Op
from attokit.quant.ops.transposed_convolution import accumulate

RNG = np.random.default_rng(0)


def _both(variables, x):
    kernel, bias = variables
    bias = bias.reshape(1, 1, 1, -1)
    narrow = jax.lax.conv_transpose(x, kernel[:1, :2], (2, 3), "SAME")
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME") + bias, narrow


CASE = Case("transpose_conv", _both, ((3, 4, 4, 5), (5,)), ((2, 4, 3, 4),))


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_integers_equal_the_kernels_formula(kernels):
    assert largest_difference(CASE, kernels) == 0


def _op(size, offset=(0, 0)):
    attributes = {"strides": (2, 2), "offset": offset, "size": size}
    return Op(kind="transpose_conv", inputs=("x", "k"), outputs=("y",), attributes=attributes)


def test_each_pixel_lays_down_the_turned_kernel():
    x = np.zeros((1, 2, 2, 1), np.float32)
    x[0, 1, 0, 0] = 2
    k = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    compute = functools.partial(table.OPS["transpose_conv"].compute, _op((5, 5)))
    (y,) = compute(jnp.asarray(x), jnp.asarray(k), jnp.float32([10]))
    want = np.full((5, 5), 10)
    want[2:, :3] += 2 * np.arange(9).reshape(3, 3)[::-1, ::-1]
    np.testing.assert_array_equal(y[0, ..., 0], want)


def test_sums_beyond_float32_are_exact():
    x = np.where(RNG.random((1, 2, 2, 600)) < 0.99, 255, -254)
    k = np.where(RNG.random((2, 2, 600, 2)) < 0.99, 127, -126)
    op = _op((3, 3), offset=(1, 1))
    got = jax.jit(functools.partial(accumulate, op))(np.float32(x), np.float32(k))
    want = contract(op, x, k)
    assert np.abs(want).max() > 2**24
    np.testing.assert_array_equal(got, want)


def test_macs_count_every_pixel_and_tap():
    shapes = {"x": (1, 4, 4, 2), "k": (3, 3, 2, 5), "y": (1, 8, 8, 5)}
    assert table.OPS["transpose_conv"].macs(_op((8, 8)), shapes.__getitem__) == 16 * 9 * 2 * 5
