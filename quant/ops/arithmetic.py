"""ADD, SUB and MUL of two tensors that broadcast against each other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Kernels, Multiplier, Op, OpKind, Ratio, Rescaled, Scales, Wide
from attokit.quant.ops.requantize import rescale

_LEFT_SHIFT = 20  # headroom that the kernels give to both addends
_WIDE_LEFT_SHIFT = 15  # to those of 16 bits
_FUSABLE = frozenset({"relu", "relu6", "relu_n1_to_1"})


def aligned(first: Array, second: Array) -> tuple[Array, Array]:
    """Returns both with leading axes of size 1 added until their ranks are equal."""
    rank = max(first.ndim, second.ndim)
    return _of_rank(first, rank), _of_rank(second, rank)


def _of_rank(value: Array, rank: int) -> Array:
    return value.reshape((1,) * (rank - value.ndim) + value.shape)


def _compute_add(op, first, second):
    del op
    first, second = aligned(first, second)
    return (first + second,)


def _compute_sub(op, first, second):
    del op
    first, second = aligned(first, second)
    return (first - second,)


def _compute_mul(op, first, second):
    del op
    first, second = aligned(first, second)
    return (first * second,)


def _sum_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    del op
    if kernels == "xnnpack":
        first, second, output = scales.inputs[0], scales.inputs[1], scales.outputs[0]
        return (Ratio(first=first, third=output), Ratio(first=second, third=output))
    return _relative_ratios(scales, _LEFT_SHIFT)


def _wide_sum_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    del op, kernels
    return _relative_ratios(scales, _WIDE_LEFT_SHIFT)


def _relative_ratios(scales: Scales, headroom: int) -> tuple[Ratio, ...]:
    """Returns both input multipliers and the output's: relative to twice the larger scale."""
    first, second, output = scales.inputs[0], scales.inputs[1], scales.outputs[0]
    twice = jnp.maximum(first, second) * 2
    return (
        Ratio(first=first, third=twice),
        Ratio(first=second, third=twice),
        Ratio(first=twice, third=output, exponent=-headroom),
    )


def _integer_sum(sign: int):
    def integer(op, kernels, integers, multipliers, scales):
        del op, scales
        first, second = aligned(*(x.astype(jnp.int32) for x in integers))
        if kernels == "xnnpack":
            return (_xnnpack_sum(first, sign * second, multipliers),)
        return (_sum(first, sign, second, multipliers, _LEFT_SHIFT),)

    return integer


def _integer_wide_sum(sign: int):
    def integer(op, kernels, integers, multipliers, scales):
        del op, kernels, scales
        first, second = aligned(*(x.astype(jnp.int32) for x in integers))
        return (_sum(first, sign, second, multipliers, _WIDE_LEFT_SHIFT),)

    return integer


def _sum(
    first: Int32[Array, "..."],
    sign: int,
    second: Int32[Array, "..."],
    multipliers: tuple[Multiplier, ...],
    headroom: int,
) -> Rescaled:
    first, second = (
        fixed_point.multiply_double_rounding(
            values << headroom, jax.tree.map(lambda x: x[0], multiplier.factor)
        )
        for values, multiplier in zip((first, second), multipliers[:2], strict=True)
    )
    return rescale(first + sign * second, multipliers[2], "reference")


def _xnnpack_sum(
    first: Int32[Array, "..."], second: Int32[Array, "..."], multipliers: tuple[Multiplier, ...]
) -> Rescaled:
    """XNNPACK's addition: 21-bit multipliers with one shift, ties toward plus infinity."""
    ratio1, ratio2 = multipliers[0].real[0], multipliers[1].real[0]
    bits = jax.lax.bitcast_convert_type(jnp.maximum(ratio1, ratio2), jnp.uint32)
    shift = 20 - ((bits >> 23).astype(jnp.int32) - 127)
    factor1, factor2 = (jnp.round(_times_power_of_two(r, shift)) for r in (ratio1, ratio2))
    total = first * factor1.astype(jnp.int32) + second * factor2.astype(jnp.int32)
    real = first.astype(jnp.float32) * ratio1 + second.astype(jnp.float32) * ratio2
    return Rescaled(integers=(total + (jnp.int32(1) << (shift - 1))) >> shift, real=real)


def _times_power_of_two(value: Float[Array, ""], exponent: Int32[Array, ""]) -> Float[Array, ""]:
    """Returns value * 2**exponent, exactly (exp2 would round)."""
    bits = jax.lax.bitcast_convert_type(value, jnp.int32) + (exponent << 23)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _product_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """LiteRT multiplies the scales as floats, TFLite Micro as doubles."""
    del op
    return (
        Ratio(
            first=scales.inputs[0],
            second=scales.inputs[1],
            third=scales.outputs[0],
            single=kernels != "micro",
        ),
    )


def _integer_mul(op, kernels, integers, multipliers, scales):
    del op, scales
    first, second = aligned(*(x.astype(jnp.int32) for x in integers))
    return (rescale(first * second, multipliers[0], kernels),)


def _integer_wide_mul(op, kernels, integers, multipliers, scales):
    del kernels
    return _integer_mul(op, "reference", integers, multipliers, scales)


ADD = OpKind(
    name="add",
    compute=_compute_add,
    integer=_integer_sum(1),
    ratios=_sum_ratios,
    activations=_FUSABLE,
    elementwise=True,
    homogeneous="jointly",
    wide=Wide(integer=_integer_wide_sum(1), ratios=_wide_sum_ratios),
)
SUB = OpKind(
    name="sub",
    compute=_compute_sub,
    integer=_integer_sum(-1),
    ratios=_sum_ratios,
    activations=_FUSABLE,
    elementwise=True,
    homogeneous="jointly",
    wide=Wide(integer=_integer_wide_sum(-1), ratios=_wide_sum_ratios),
)
MUL = OpKind(
    name="mul",
    compute=_compute_mul,
    integer=_integer_mul,
    ratios=_product_ratios,
    activations=_FUSABLE,
    elementwise=True,
    homogeneous="singly",
    wide=Wide(integer=_integer_wide_mul),
)
