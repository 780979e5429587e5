"""TRANSPOSE_CONV: every pixel lays its multiple of the kernel over the output, `strides` apart.

Attributes: `strides` (h, w); `offset` (h, w), how many rows and columns are cut off in front of all
that the patches cover; `size` (h, w) of the output.
Inputs: images [b, h, w, cin], kernel [kh, kw, cin, cout], bias [cout].  The kernel is laid down
turned by half a circle, as JAX's convolution of dilated images has it.
"""

import functools
import math

import jax
from jaxtyping import Array, Float, Int32

from attokit.quant.ops.convolution import exact_sum, on_int16
from attokit.quant.ops.kind import Op, Operand, OpKind, Wide
from attokit.quant.ops.requantize import kernel_ratio, rescale


def _compute(op, images, kernel, bias=None):
    result = _convolve(op, images, kernel)
    return (result if bias is None else result + bias.reshape(1, 1, 1, -1),)


def _convolve(op: Op, images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"]) -> Array:
    padding = []
    for n, k, s, offset, size in zip(
        images.shape[1:3], kernel.shape[:2], op["strides"], op["offset"], op["size"], strict=True
    ):
        padding.append((k - 1 - offset, size + offset - (n - 1) * s - 1))
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(1, 1),
        padding=padding,
        lhs_dilation=op["strides"],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def accumulate(
    op: Op, images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"]
) -> Int32[Array, "b oh ow o"]:
    """Returns the exact integer result for integers held in float32."""
    return exact_sum(functools.partial(_convolve, op), images, kernel)


def _integer(op, kernels, integers, multipliers, scales):
    del scales
    images, kernel, *bias = integers
    accumulators = accumulate(op, images, kernel)
    if bias:
        accumulators = accumulators + bias[0].reshape(1, 1, 1, -1)
    return (rescale(accumulators, multipliers[0], kernels),)


def _macs(op, shape_of):
    kh, kw, cin, cout = shape_of(op.inputs[1])
    return math.prod(shape_of(op.inputs[0])[:3]) * kh * kw * cin * cout


TRANSPOSE_CONV = OpKind(
    name="transpose_conv",
    compute=_compute,
    integer=_integer,
    roles=(Operand.ACTIVATION, Operand.KERNEL, Operand.BIAS),
    ratios=lambda op, scales, kernels: (kernel_ratio(scales),),
    bilinear=True,
    macs=_macs,
    wide=Wide(integer=on_int16(accumulate)),
)
