"""CONV_2D and DEPTHWISE_CONV_2D.

Attributes of both: `strides` (h, w), `padding` ("SAME" or "VALID"), `dilation` (h, w), `groups`.
Inputs: images [b, h, w, cin], kernel [kh, kw, cin / groups, cout], bias [cout].
Kernel scales run along cout (TFLite: axis 0 of OHWI, axis 3 of a depthwise kernel).
"""

import functools
import operator
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from attokit.quant import long_integers
from attokit.quant.long_integers import Long
from attokit.quant.ops.kind import Op, Operand, OpKind, Ratio, Rescaled, Scales, Wide
from attokit.quant.ops.requantize import (
    kernel_ratio,
    per_channel,
    rescale_contraction,
    rescale_long,
)
from attokit.zoo.convolution import conv

# float32 holds every integer up to 2**24; an int8 product is at most 255 * 127.
EXACT_PRODUCTS = 2**24 // (255 * 127)
Convolve = Callable[[Array, Array], Array]


def _compute(op, images, kernel, bias=None):
    result = _convolve(op, images, kernel)
    return (result if bias is None else result + bias.reshape(1, 1, 1, -1),)


def _convolve(op: Op, images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"]) -> Array:
    return conv(
        images,
        kernel,
        strides=op["strides"],
        padding=op["padding"],
        dilation=op["dilation"],
        groups=op["groups"],
    )


def accumulate(
    op: Op, images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"]
) -> Int32[Array, "b h w o"]:
    """Returns the exact integer convolution of integers held in float32."""
    return exact_sum(functools.partial(_convolve, op), images, kernel, op["groups"])


def exact_sum(
    convolve: Convolve,
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    groups: int = 1,
) -> Int32[Array, "b oh ow o"]:
    """Returns what a convolution makes of integers held in float32, exactly.

    Sums of up to `EXACT_PRODUCTS` products are exact in float32 in any order, so longer ones are
    split along the input channels and added as int32.  (On TPU and GPU the default precision is
    exact too: the factors need 8 bits, and accumulation is in float32.)

    Args:
      convolve: Linear in images and kernel; sums over all taps and input channels at most.
      images: Integers.
      kernel: Likewise.
      groups: Into which the channels are divided.
    """
    taps, channels = kernel.shape[0] * kernel.shape[1], kernel.shape[2]
    if taps > EXACT_PRODUCTS:  # kernels beyond 22x22: two passes over the kernel's bits
        coarse, step = jnp.floor(kernel / 16), max(1, 8 * EXACT_PRODUCTS // taps)
        high = _sum_channels(convolve, images, coarse, groups, step)
        return high * 16 + _sum_channels(convolve, images, kernel - coarse * 16, groups, step)
    return _sum_channels(convolve, images, kernel, groups, min(channels, EXACT_PRODUCTS // taps))


def _sum_channels(
    convolve: Convolve, images: Array, kernel: Array, groups: int, step: int
) -> Int32[Array, "..."]:
    channels = kernel.shape[2]
    if channels <= step:
        return convolve(images, kernel).astype(jnp.int32)
    grouped = images.reshape(*images.shape[:3], groups, channels)

    def partial(start: int) -> Int32[Array, "..."]:
        part = grouped[..., start : start + step].reshape(*images.shape[:3], -1)
        return convolve(part, kernel[:, :, start : start + step]).astype(jnp.int32)

    return functools.reduce(operator.add, map(partial, range(0, channels, step)))


def _integer(op, kernels, integers, multipliers, scales):
    images, kernel, *bias = integers
    accumulators = accumulate(op, images, kernel)
    if bias:
        accumulators = accumulators + bias[0].reshape(1, 1, 1, -1)
    if op["groups"] > 1 and scales.kernel_bits == 4:
        kernels = "reference"  # the only one that LiteRT has for groups of 4 bits
    result = rescale_contraction(accumulators, multipliers[0], kernels, scales, delegated=False)
    return (result,)


def exact_sum_of_halves(
    accumulate: Callable[[Array, Array], Int32[Array, "..."]],
    values: Float[Array, "b ..."],
    kernel: Float[Array, "..."],
    bias: Int32[Array, " o"] | None,
) -> Long:
    """Returns what a contraction makes of int16, exactly, plus the bias.

    Args:
      accumulate: Of values of 8 bits and a kernel; the batch is the first axis.
      values: int16 held in float32.
      kernel: int8, likewise.
      bias: Of the last axis.
    """
    parts = jnp.concatenate(long_integers.halves(values))  # in one go: half the programs
    total = long_integers.joined(*jnp.split(accumulate(parts, kernel), 2))
    if bias is None:
        return total
    return total + long_integers.of(per_channel(bias, total.high.ndim))


def on_int16(
    accumulate: Callable[[Op, Array, Array], Int32[Array, "b h w o"]],
) -> Callable[..., tuple[Rescaled, ...]]:
    """Returns `Wide.integer` of a kind of convolution, by its exact sums of int8."""

    def integer(op, kernels, integers, multipliers, scales):
        del kernels, scales
        images, kernel, *bias = integers
        total = exact_sum_of_halves(
            functools.partial(accumulate, op), images, kernel, bias[0] if bias else None
        )
        return (rescale_long(total, multipliers[0]),)

    return integer


def _ratios(op: Op, scales: Scales, kernels: str) -> tuple[Ratio, ...]:
    del op, kernels
    return (kernel_ratio(scales),)


def _macs(op, shape_of):
    _, height, width, channels = shape_of(op.outputs[0])
    kh, kw, cin, _ = shape_of(op.inputs[1])
    batch = shape_of(op.outputs[0])[0]
    return batch * height * width * channels * kh * kw * cin


def _kind(name: str) -> OpKind:
    return OpKind(
        name=name,
        compute=_compute,
        integer=_integer,
        roles=(Operand.ACTIVATION, Operand.KERNEL, Operand.BIAS),
        ratios=_ratios,
        bilinear=True,
        activations=frozenset({"relu", "relu6", "relu_n1_to_1"}),
        macs=_macs,
        wide=Wide(integer=on_int16(accumulate)),
    )


CONV_2D = _kind("conv_2d")
DEPTHWISE_CONV_2D = _kind("depthwise_conv_2d")

__all__ = [
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "accumulate",
    "exact_sum",
    "exact_sum_of_halves",
    "on_int16",
]
