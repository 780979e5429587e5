import jax
import jax.numpy as jnp
import pytest
from single_op import Case, largest_difference

from attokit.zoo.convolution import conv


def _conv(strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1, after=lambda y: y):
    def function(variables, x):
        kernel, *bias = variables
        y = conv(x, kernel, strides=strides, padding=padding, dilation=dilation, groups=groups)
        return after(y + bias[0].reshape(1, 1, 1, -1) if bias else y)

    return function


def _dense(variables, x):
    kernel, *bias = variables
    y = x @ kernel
    return jax.nn.relu(y + bias[0].reshape((1,) * (y.ndim - 1) + (-1,))) if bias else y


CASES = {
    "conv": Case("conv_2d", _conv(after=jax.nn.relu6), ((3, 3, 4, 5), (5,))),
    "conv_strided": Case("conv_2d", _conv((2, 2)), ((3, 2, 4, 5), (5,))),
    "conv_valid": Case("conv_2d", _conv((2, 1), "VALID", after=jax.nn.relu), ((3, 3, 4, 5), (5,))),
    "conv_dilated": Case("conv_2d", _conv(dilation=(2, 2)), ((3, 3, 4, 5), (5,))),
    "conv_padded": Case("conv_2d", _conv(padding=((1, 1), (2, 0))), ((3, 3, 4, 5), (5,))),
    "conv_1x1": Case("conv_2d", _conv(), ((1, 1, 4, 9),)),
    "conv_clip": Case("conv_2d", _conv(after=lambda y: jnp.clip(y, -1, 1)), ((1, 1, 4, 9), (9,))),
    "conv_grouped": Case("conv_2d", _conv(groups=2, after=jax.nn.relu), ((3, 3, 2, 6), (6,))),
    "conv_wide": Case("conv_2d", _conv(), ((3, 3, 70, 4), (4,)), ((1, 4, 4, 70),)),
    "depthwise": Case(
        "depthwise_conv_2d", _conv((2, 2), groups=4, after=jax.nn.relu6), ((3, 3, 1, 4), (4,))
    ),
    "depthwise_multiplier": Case(
        "depthwise_conv_2d", _conv((1, 1), "VALID", groups=4), ((3, 2, 1, 8), (8,))
    ),
    "depthwise_dilated": Case(
        "depthwise_conv_2d", _conv(dilation=(2, 2), groups=4), ((3, 3, 1, 4), (4,))
    ),
    "dense": Case("fully_connected", _dense, ((20, 7), (7,)), ((3, 20),)),
    "dense_wide": Case("fully_connected", _dense, ((600, 5), (5,)), ((2, 600),)),
    "dense_rank_3": Case("fully_connected", _dense, ((6, 7),), ((2, 5, 6),)),
}


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=4) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=200, seed=1) == 0
