"""FULLY_CONNECTED: a dense layer over the last axis.

Inputs: values [..., k], kernel [k, n], bias [n].  Kernel scales run along n (TFLite: axis 0 of
[n, k]).
"""

import functools
import math
import operator

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from attokit.quant import fixed_point
from attokit.quant.ops.convolution import EXACT_PRODUCTS, exact_sum_of_halves
from attokit.quant.ops.kind import Op, Operand, OpKind, Rescaled, Wide
from attokit.quant.ops.requantize import (
    kernel_ratio,
    per_channel,
    rescale_contraction,
    rescale_long,
)


def _compute(op, values, kernel, bias=None):
    del op
    result = values @ kernel
    return (result if bias is None else result + bias.reshape((1,) * (result.ndim - 1) + (-1,)),)


def accumulate(values: Float[Array, "... k"], kernel: Float[Array, "k n"]) -> Int32[Array, "... n"]:
    """Returns the exact integer product of integers held in float32 (see `convolution`)."""

    def partial(start: int) -> Int32[Array, "... n"]:
        part = slice(start, start + EXACT_PRODUCTS)
        return (values[..., part] @ kernel[part]).astype(jnp.int32)

    return functools.reduce(operator.add, map(partial, range(0, kernel.shape[0], EXACT_PRODUCTS)))


def _integer(op, kernels, integers, multipliers, scales):
    del op
    values, kernel, *bias = integers
    accumulators = accumulate(values, kernel)
    if bias:
        accumulators = accumulators + per_channel(bias[0], accumulators.ndim)
    even = kernel.shape[0] % 2 == 0
    result = rescale_contraction(accumulators, multipliers[0], kernels, scales, delegated=even)
    if kernels == "reference":  # LiteRT's reference kernel multiplies doubles
        flat = accumulators.reshape(-1, accumulators.shape[-1])
        rounded = fixed_point.multiply_as_double(flat, multipliers[0].ratio)
        result = Rescaled(integers=rounded.reshape(accumulators.shape), real=result.real)
    return (result,)


def _integer_wide(op, kernels, integers, multipliers, scales):
    """TFLite Micro rescales as convolutions do, LiteRT multiplies doubles."""
    del op, scales
    values, kernel, *bias = integers
    total = exact_sum_of_halves(accumulate, values, kernel, bias[0] if bias else None)
    result = rescale_long(total, multipliers[0])
    if kernels != "micro":
        rounded = fixed_point.multiply_words_as_double(
            total.magnitude(), total.high < 0, multipliers[0].ratio
        )
        result = Rescaled(integers=rounded, real=result.real)
    return (result,)


def _macs(op: Op, shape_of):
    return math.prod(shape_of(op.outputs[0])) * shape_of(op.inputs[1])[0]


FULLY_CONNECTED = OpKind(
    name="fully_connected",
    compute=_compute,
    integer=_integer,
    roles=(Operand.ACTIVATION, Operand.KERNEL, Operand.BIAS),
    ratios=lambda op, scales, kernels: (kernel_ratio(scales),),
    bilinear=True,
    activations=frozenset({"relu", "relu6", "relu_n1_to_1"}),
    macs=_macs,
    wide=Wide(integer=_integer_wide),
)
