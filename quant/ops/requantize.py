"""How int32 accumulators become int8, and 64-bit ones int16, by kernel set."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from attokit.quant import fixed_point
from attokit.quant.long_integers import Long, multiply_reduced
from attokit.quant.ops.kind import Kernels, Multiplier, Ratio, Rescaled, Scales


def rescale(
    accumulators: Int32[Array, "... c"], multiplier: Multiplier, kernels: Kernels
) -> Rescaled:
    """Returns accumulators times a multiplier, rounded as the kernel set rounds.

    Reference and micro kernels: 31-bit multiplier, gemmlowp's two roundings.  XNNPACK: float32
    product, ties to even.
    """
    real = accumulators.astype(jnp.float32) * per_channel(multiplier.real, accumulators.ndim)
    if kernels == "xnnpack":
        return Rescaled(integers=jnp.round(real), real=real)
    factor = jax.tree.map(lambda x: per_channel(x, accumulators.ndim), multiplier.factor)
    integers = fixed_point.multiply_double_rounding(accumulators, factor)
    return Rescaled(integers=integers, real=real)


def rescale_contraction(
    accumulators: Int32[Array, "... c"],
    multiplier: Multiplier,
    kernels: Kernels,
    scales: Scales,
    delegated: bool,
) -> Rescaled:
    """Returns the same for a product with a kernel, which may have 4 bits.

    XNNPACK leaves most of those to LiteRT's own kernels, whose last rounding takes ties upwards.

    Args:
      accumulators: Sums of products.
      multiplier: As in `rescale`.
      kernels: Likewise.
      scales: Of the op.
      delegated: Whether XNNPACK takes the op with a kernel of 4 bits.
    """
    result = rescale(accumulators, multiplier, kernels)
    if kernels != "xnnpack" or scales.kernel_bits == 8 or delegated:
        return result
    upwards = dataclasses.replace(multiplier.factor, away=jnp.zeros_like(multiplier.factor.away))
    factor = jax.tree.map(lambda x: per_channel(x, accumulators.ndim), upwards)
    integers = fixed_point.multiply_double_rounding(accumulators, factor)
    return Rescaled(integers=integers, real=result.real)


def rescale_long(accumulators: Long, multiplier: Multiplier) -> Rescaled:
    """Returns 64-bit sums over int16 times a multiplier, as all kernels but one rescale them."""
    rank = accumulators.high.ndim
    by = dataclasses.replace(
        multiplier,
        mantissa=per_channel(multiplier.mantissa, rank),
        exponent=per_channel(multiplier.exponent, rank),
    )
    real = accumulators.real() * per_channel(multiplier.real, rank)
    return Rescaled(integers=multiply_reduced(accumulators, by), real=real)


def per_channel(values: Array, rank: int) -> Array:
    """Returns a scalar or a vector [c] in a shape that broadcasts against [..., c]."""
    return values.reshape((1,) * (rank - values.ndim) + values.shape if rank else ())


def kernel_ratio(scales: Scales) -> Ratio:
    """Returns s_in * s_kernel / s_out of a convolution or dense layer."""
    return Ratio(first=scales.inputs[0], second=scales.inputs[1], third=scales.outputs[0])
