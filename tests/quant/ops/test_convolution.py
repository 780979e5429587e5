import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import contract, largest_difference
from single_op import Case

from attokit.quant.ops import table
from attokit.quant.ops.convolution import accumulate
from attokit.quant.ops.kind import Op
from attokit.zoo.convolution import conv

RNG = np.random.default_rng(0)


def _all(variables, x):
    dense, grouped, depthwise, bias = variables
    bias = bias.reshape(1, 1, 1, -1)
    return (
        jax.nn.relu6(conv(x, dense, strides=(2, 1), padding="SAME") + bias),
        conv(x, grouped, groups=2, padding="VALID") + bias,
        jax.nn.relu(conv(x, depthwise, groups=4, padding="SAME", dilation=(2, 2)) + bias),
        conv(jnp.pad(x, ((0, 0), (2, 0), (1, 1), (0, 0))), dense, padding="VALID"),
    )


CASE = Case("depthwise_conv_2d", _all, ((3, 2, 4, 8), (3, 3, 2, 8), (3, 3, 1, 8), (8,)))


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_integers_equal_the_kernels_formula(kernels):
    assert largest_difference(CASE, kernels) == 0


def _op(kind="conv_2d", groups=1, padding="SAME"):
    attributes = {"strides": (1, 1), "dilation": (1, 1), "groups": groups, "padding": padding}
    return Op(kind=kind, inputs=("x", "k"), outputs=("y",), attributes=attributes)


@pytest.mark.parametrize(
    ("images", "kernel", "groups"),
    [
        ((1, 3, 3, 130), (3, 3, 130, 3), 1),  # three parts
        ((1, 2, 2, 1100), (1, 1, 550, 4), 2),  # parts of each group
        ((1, 30, 24, 2), (24, 24, 2, 1), 1),  # one channel is already too long a sum
        pytest.param((1, 24, 24, 2), (24, 23, 1, 2), 2, marks=pytest.mark.slow),  # long to compile
    ],
)
def test_sums_beyond_float32_are_exact(images, kernel, groups):
    # The largest products of all, with signs that leave odd sums above 2**24.
    x = np.where(RNG.random(images) < 0.99, 255, -254).astype(np.float32)
    k = np.where(RNG.random(kernel) < 0.99, 127, -126).astype(np.float32)
    op = _op(groups=groups)
    got = jax.jit(functools.partial(accumulate, op))(x, k)
    want = contract(op, x.astype(np.int64), k.astype(np.int64))
    assert np.abs(want).max() > 2**24
    np.testing.assert_array_equal(got, want)


def test_float_meaning_adds_the_bias_and_macs_count_products():
    x, k = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))
    (y,) = table.OPS["conv_2d"].compute(_op(padding="VALID"), x, k, jnp.arange(5.0))
    np.testing.assert_array_equal(y[0, 0, 0], 18 + np.arange(5))
    shapes = {"x": (1, 4, 4, 2), "k": (3, 3, 2, 5), "y": (1, 2, 2, 5)}
    op = dataclasses.replace(_op(padding="VALID"), inputs=("x", "k", "b"))
    assert table.OPS["conv_2d"].macs(op, shapes.__getitem__) == 2 * 2 * 5 * 9 * 2
