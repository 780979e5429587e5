import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from single_op import Case, check_int16, largest_difference, pairs

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


def _transposed(strides, padding, after=lambda y: y):
    def function(variables, x):
        kernel, *bias = variables
        y = jax.lax.conv_transpose(x, kernel, strides, padding)
        return after(y + bias[0].reshape(1, 1, 1, -1) if bias else y)

    return function


def _spread(padding):
    """A transposed convolution that TFLite's paddings do not align."""
    return lambda variables, x: jax.lax.conv_general_dilated(
        x,
        variables[0],
        (1, 1),
        padding,
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _signal(strides, padding, dilation=1, groups=1):
    def function(variables, x):
        kernel, bias = variables
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            (strides,),
            padding,
            rhs_dilation=(dilation,),
            feature_group_count=groups,
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return jax.nn.relu(y + bias.reshape(1, 1, -1))

    return function


def _einsum(spec):
    return lambda variables, *x: jnp.einsum(spec, *x, *variables)


def _symmetric(_, x, y):
    """The second operand has zero point 0, so that XNNPACK takes the product."""
    return x @ jnp.tanh(y)


def _attention(_, query, key, value):
    return jax.nn.dot_product_attention(query, key, value, is_causal=True)


def _linen_attention(variables, x):
    names = ("query", "key", "value", "out")
    params = {
        name: {"kernel": kernel, "bias": bias}
        for name, kernel, bias in zip(names, variables[::2], variables[1::2], strict=True)
    }
    layer = nn.MultiHeadDotProductAttention(num_heads=2)
    return layer.apply({"params": params}, x, mask=nn.make_causal_mask(x[..., 0]))


def _nnx_attention(_, x):
    with jax.ensure_compile_time_eval():  # its weights are constants, also while this is traced
        layer = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=nnx.Rngs(0))
    return layer(x, mask=nnx.make_causal_mask(x[..., 0]))


_HEADS = ((2, 6, 2, 4),) * 3
_SMALL, _MATRICES = ((2, 4, 5, 3),), ((2, 3, 4), (2, 4, 5))
CASES = {
    "conv": Case("conv_2d", _conv(after=jax.nn.relu6), ((3, 3, 4, 5), (5,))),
    "conv_strided": Case("conv_2d", _conv((2, 2)), ((3, 2, 4, 5), (5,))),
    "conv_valid": Case("conv_2d", _conv((2, 1), "VALID", after=jax.nn.relu), ((3, 3, 4, 5), (5,))),
    "conv_dilated": Case("conv_2d", _conv(dilation=(2, 2)), ((3, 3, 4, 5), (5,))),
    "conv_padded": Case("conv_2d", _conv(padding=((1, 1), (2, 0))), ((3, 3, 4, 5), (5,))),
    "conv_1x1": Case("conv_2d", _conv(), ((1, 1, 4, 9),)),
    "conv_clip": Case("conv_2d", _conv(after=lambda y: jnp.clip(y, -1, 1)), ((1, 1, 4, 9), (9,))),
    "conv_grouped": Case("conv_2d", _conv(groups=2, after=jax.nn.relu), ((3, 3, 2, 6), (6,))),
    "conv_4_bits": Case(
        "conv_2d", _conv((2, 1), after=jax.nn.relu), ((3, 3, 4, 5), (5,)), weight_bits=4
    ),
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
    "dense_4_bits": Case("fully_connected", _dense, ((21, 7), (7,)), ((3, 21),), weight_bits=4),
    "dense_wide": Case("fully_connected", _dense, ((600, 5), (5,)), ((2, 600),)),
    "dense_rank_3": Case("fully_connected", _dense, ((6, 7),), ((2, 5, 6),)),
    "dense_heads": Case("fully_connected", _einsum("bsnd,ndk->bsk"), ((2, 3, 6),), ((2, 4, 2, 3),)),
    "dense_per_head": Case("conv_2d", _einsum("bsnd,nde->bsne"), ((2, 4, 3),), ((3, 5, 2, 4),)),
    "cumsum": Case("fully_connected", lambda _, x: jnp.cumsum(x, 1), (), ((2, 5, 3),)),
    "signal": Case("conv_2d", _signal(2, "SAME"), ((3, 4, 5), (5,)), ((2, 7, 4),)),
    "transposed": Case("transpose_conv", _transposed((2, 2), "SAME"), ((3, 3, 3, 5), (5,)), _SMALL),
    "transposed_valid": Case(
        "transpose_conv", _transposed((2, 1), "VALID", jax.nn.relu), ((4, 2, 3, 5), (5,)), _SMALL
    ),
    "transposed_narrow": Case(
        "transpose_conv", _transposed((3, 2), "SAME"), ((2, 1, 3, 5), (5,)), _SMALL
    ),
    "transposed_cut": Case("transpose_conv", _spread(((1, 2), (0, 1))), ((3, 3, 3, 4),), _SMALL),
    "matmul": Case("batch_matmul", _einsum("bij,bjk->bik"), (), _MATRICES),
    "matmul_heads": Case(
        "batch_matmul", _einsum("bqhd,bkhd->bhqk"), (), ((2, 3, 2, 4), (2, 5, 2, 4))
    ),
    "attention": Case("batch_matmul", _attention, (), _HEADS),
    "matmul_symmetric": Case("batch_matmul", _symmetric, (), _MATRICES),
}
# Not in the default run.
MORE_CASES = {
    "conv_4_bits_grouped": Case("conv_2d", _conv(groups=2), ((3, 3, 2, 16), (16,)), weight_bits=4),
    "dense_4_bits_even": Case("fully_connected", _dense, ((6, 7),), ((2, 5, 6),), weight_bits=4),
    "attention_linen": Case(
        "batch_matmul",
        _linen_attention,
        ((8, 2, 4), (2, 4)) * 3 + ((2, 4, 8), (8,)),
        ((2, 6, 8),),
    ),
    "attention_nnx": Case("batch_matmul", _nnx_attention, (), ((2, 6, 8),)),
    "dense_rank_5": Case("fully_connected", _dense, ((3, 4),), ((2, 2, 1, 3, 3),)),
    "dense_vector": Case("fully_connected", _einsum("i,ij->j"), ((4, 3),), ((4,),)),
    "signal_causal": Case("conv_2d", _signal(1, [(4, 0)], 2), ((3, 4, 5), (5,)), ((2, 7, 4),)),
    "signal_depthwise": Case(
        "depthwise_conv_2d", _signal(1, "SAME", groups=4), ((3, 1, 4), (4,)), ((2, 7, 4),)
    ),
    "transposed_padded": Case("transpose_conv", _spread(((4, 0), (2, 7))), ((3, 3, 3, 4),), _SMALL),
    "transposed_wide": Case(
        "transpose_conv", _transposed((2, 2), "SAME"), ((3, 3, 70, 3), (3,)), ((1, 3, 3, 70),)
    ),
    "matmul_adjoint": Case("batch_matmul", _einsum("bji,bkj->bik"), (), ((2, 4, 3), (2, 5, 4))),
    "matmul_rank_6": Case(
        "batch_matmul",
        _einsum("abcdij,abcdjk->abcdik"),
        (),
        ((2, 1, 2, 2, 3, 4), (2, 1, 2, 2, 4, 5)),
    ),
    "matmul_wide": Case("batch_matmul", _einsum("bij,bjk->bik"), (), ((1, 3, 600), (1, 600, 2))),
}


@pytest.mark.parametrize(("name", "kernels"), pairs(CASES))
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=4) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES | MORE_CASES)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    # XNNPACK's softmax is promised to one unit (quant/ops/softmax.py), and attention holds one.
    bound = 1 if kernels == "xnnpack" and name.startswith("attention") else 0
    assert largest_difference((CASES | MORE_CASES)[name], kernels, draws=200, seed=1) <= bound


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES | MORE_CASES)
def test_int16_equals_the_runtime_in_many_draws_or_is_refused(name, kernels):
    check_int16((CASES | MORE_CASES)[name], kernels, draws=60)
