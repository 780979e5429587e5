"""QUANTIZE, DEQUANTIZE and the rectifiers that stand alone: RELU, RELU6, RELU_N1_TO_1.

RELU and QUANTIZE change the scale.  RELU6 and RELU_N1_TO_1 keep it: TFLite Micro's RELU6 ignores
the output's scale, so one scale is the only form that all runtimes agree on.
"""

import jax.numpy as jnp

from attokit.quant.ops import activation
from attokit.quant.ops.kind import Activation, Kernels, Op, OpKind, Ratio, Rescaled, Scales, Wide
from attokit.quant.ops.requantize import rescale


def _compute_quantize(op, values):
    del op
    return (values,)


def _quantize_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    del op, kernels
    if scales.inputs[0] is None:  # reals
        return ()
    return (Ratio(first=scales.inputs[0], third=scales.outputs[0]),)


def _integer_quantize(op, kernels, integers, multipliers, scales):
    del op, scales
    values = integers[0].astype(jnp.int32)
    result = rescale(values, multipliers[0], "reference")
    if kernels == "xnnpack":  # keeps 8 fractional bits of the ratio
        factor = jnp.round(multipliers[0].real[0] * 256).astype(jnp.int32)
        result = Rescaled(integers=(values * factor + 128) >> 8, real=result.real)
    return (result,)


def _integer_wide_quantize(op, kernels, integers, multipliers, scales):
    del kernels
    return _integer_quantize(op, "reference", integers, multipliers, scales)


def _compute_relu(op, values):
    del op
    return (activation.apply("relu", values),)


def _relu_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """LiteRT divides the scales as floats, TFLite Micro as doubles."""
    del op
    single = kernels != "micro"
    return (Ratio(first=scales.inputs[0], third=scales.outputs[0], single=single),)


def _integer_relu(op, kernels, integers, multipliers, scales):
    del op, kernels, scales  # XNNPACK does not take RELU: the built-in kernel runs
    result = rescale(integers[0].astype(jnp.int32), multipliers[0], "reference")
    return (Rescaled(integers=jnp.maximum(result.integers, 0), real=jnp.maximum(result.real, 0)),)


def _bounded(name: Activation, wide: Wide | None) -> OpKind:
    def compute(op, values):
        del op
        return (activation.apply(name, values),)

    def integer(op, kernels, integers, multipliers, scales):
        del op, kernels, multipliers
        bounds = activation.centred_bounds(
            activation.real_bounds(name),
            scales.outputs[0],
            scales.output_zero_points[0],
            bits=16 if scales.wide else 8,
        )
        return (Rescaled(integers=jnp.clip(integers[0], *bounds)),)

    return OpKind(
        name=name, compute=compute, integer=integer, tied=True, elementwise=True, wide=wide
    )


# Where reals enter and leave: `quant.fake_quant` rounds and scales them, with their gradients.
DEQUANTIZE = OpKind(
    name="dequantize",
    compute=_compute_quantize,
    elementwise=True,
    homogeneous="jointly",
    wide=Wide(),
)
QUANTIZE = OpKind(
    name="quantize",
    compute=_compute_quantize,
    integer=_integer_quantize,
    elementwise=True,
    homogeneous="jointly",
    ratios=_quantize_ratios,
    wide=Wide(integer=_integer_wide_quantize),
)
RELU = OpKind(
    name="relu",
    compute=_compute_relu,
    integer=_integer_relu,
    ratios=_relu_ratios,
    elementwise=True,
    homogeneous="jointly",
    wide=Wide(),
)
RELU6 = _bounded("relu6", Wide())
RELU_N1_TO_1 = _bounded("relu_n1_to_1", Wide())  # written as MAXIMUM and MINIMUM
