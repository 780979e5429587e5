"""Functions of one tensor, element by element: every one is a table of 256 integers.

LOGISTIC, TANH, HARD_SWISH, LEAKY_RELU and ABS are operators of TFLite's.  `lookup` is any other
function: an operator where the target has one (GELU, EXP, LOG), otherwise a gather from the table.

Two sorts of tables: TFLite fills most by evaluating the function in float32 (`function`); the
others follow from integer arithmetic (`table`), in TFLite Micro those of LOGISTIC and TANH too.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from attokit.quant import fixed_point
from attokit.quant.ops import fixed_functions, sigmoid
from attokit.quant.ops.kind import (
    Function,
    Kernels,
    Multiplier,
    Op,
    OpKind,
    Ratio,
    Rescaled,
    Scales,
    Wide,
)
from attokit.quant.ops.requantize import rescale


def entries(
    function: Callable[[Any], Any],
    input_range: tuple[Any, Any],
    output_range: tuple[Any, Any],
    numpy: Any = jnp,
) -> Any:
    """Returns the output's int8 for each input from -128 to 127, as TFLite fills its tables.

    Every step is rounded to float32.  Where the function has no value (log of a negative number)
    the nearest entry that has one counts.

    Args:
      function: On float32 [256].
      input_range: Scale and zero point.
      output_range: Likewise.
      numpy: `jax.numpy`, or `numpy` itself.

    Returns:
      Integer-valued float32 [256].
    """
    (scale, zero_point), (scale_out, zero_out) = input_range, output_range
    reals = scale * (numpy.arange(-128, 128, dtype=numpy.float32) - zero_point)
    scaled = _without_gaps(function(reals), numpy) * (numpy.float32(1) / scale_out)
    bounded = numpy.clip(scaled, -1e6, 1e6)
    whole = numpy.trunc(bounded)
    rounded = whole + numpy.where(numpy.abs(bounded - whole) >= 0.5, numpy.sign(bounded), 0)
    return numpy.clip(rounded + zero_out, -128, 127).astype(numpy.float32)


def _without_gaps(values: Any, numpy: Any) -> Any:
    """Returns the values with each NaN replaced by the nearest number to its right, else left."""
    place = numpy.arange(256)
    valid = ~numpy.isnan(values)
    right: Any
    left: Any
    if numpy is np:
        right = np.minimum.accumulate(np.where(valid, place, 256)[::-1])[::-1]
        left = np.maximum.accumulate(np.where(valid, place, -1))
    else:
        right = jax.lax.cummin(jnp.where(valid, place, 256), reverse=True)
        left = jax.lax.cummax(jnp.where(valid, place, -1))
    nearest = numpy.where(right < 256, right, numpy.maximum(left, 0))
    return numpy.nan_to_num(values[nearest], nan=0, posinf=numpy.inf, neginf=-numpy.inf)


def _f32(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a float32 function that rounds correctly, as the C library's does."""
    return lambda x: function(x.astype(np.float64)).astype(np.float32)


_exp, _log, _tanh, _expm1 = map(_f32, (np.exp, np.log, np.tanh, np.expm1))
_erfc = _f32(np.vectorize(math.erfc, otypes=[np.float64]))
_HALF, _ONE = np.float32(0.5), np.float32(1)


def _logistic(x: np.ndarray) -> np.ndarray:
    return _ONE / (_ONE + _exp(-x))


def _log_or_lowest(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, _log(np.where(x > 0, x, _ONE)), np.float32(-np.inf))


def _gelu_by_erf(x: np.ndarray) -> np.ndarray:
    return _HALF * x * _erfc(x * np.float32(-math.sqrt(0.5)))


def _gelu_by_tanh(x: np.ndarray) -> np.ndarray:
    inner = x + np.float32(0.044715) * x * x * x
    return _HALF * x * (_ONE + _tanh(np.float32(math.sqrt(2 / math.pi)) * inner))


# Functions that some target has an operator for.  The second form is what its kernel computes.
FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "exp": Function(jnp.exp, _exp),
        "log": Function(jnp.log, _log_or_lowest),
        "gelu": Function(lambda x: jax.nn.gelu(x, approximate=False), _gelu_by_erf),
        "gelu_tanh": Function(lambda x: jax.nn.gelu(x, approximate=True), _gelu_by_tanh),
    }
)


def _of_attribute(op: Op) -> Function:
    return op["function"]


def _apply(op: Op, values: Float[Array, "..."]) -> tuple[Array, ...]:
    """Attributes: `function` (a `Function`), `name` (of `FUNCTIONS`, or descriptive)."""
    return (op["function"].real(values),)


_LEAST_LEAK = 127.99609375  # the most negative ratio of XNNPACK's 16 bits, less its sign


def _hard_swish_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """Of the product and of the gate: LiteRT divides scales as floats, TFLite Micro (its wheel) as doubles."""
    del op
    single = kernels != "micro"
    return (
        Ratio(first=scales.inputs[0], third=scales.outputs[0], exponent=-7, single=single),
        Ratio(first=scales.inputs[0], third=jnp.float32(3 / 32768), exponent=-7, single=single),
    )


def _hard_swish_table(
    op: Op, kernels: Kernels, scales: Scales, multipliers: tuple[Multiplier, ...]
) -> Float[Array, "256"]:
    """16-bit fixed point: x * min(max(x + 3, 0), 6) / 6 as relu6's ramp times the rescaled x."""
    del op, kernels
    value = _centred(scales) << 7
    output, ramp = multipliers
    rescaled = _multiply_16(value, _to_16_bits(output.mantissa[0]))
    exponent = ramp.exponent[0]
    gate = _saturated_16(value << jnp.maximum(exponent - 1, 0))
    gate = _multiply_16(gate, _to_16_bits(ramp.mantissa[0]))
    gate = jnp.where(exponent > 0, _saturated_16(gate << 1), gate)
    gate = fixed_point.divide_by_power_of_two(gate, jnp.maximum(-exponent, 0))
    gate = (gate + (1 << 15)) >> 1
    product = gate * rescaled
    product = jnp.sign(product) * (jnp.abs(product) >> 15)
    shift = jnp.clip(-output.exponent[0], 0, 31)
    return _stored(fixed_point.divide_by_power_of_two(product, shift), scales)


def _centred(scales: Scales) -> Int32[Array, "256"]:
    """Returns every int8 minus the zero point."""
    return jnp.arange(-128, 128, dtype=jnp.int32) - scales.input_zero_points[0].astype(jnp.int32)


def _stored(centred: Int32[Array, "256"], scales: Scales) -> Float[Array, "256"]:
    """Returns outputs as the file holds them."""
    return jnp.clip(centred.astype(jnp.float32) + scales.output_zero_points[0], -128, 127)


def _to_16_bits(mantissa: Int32[Array, ""]) -> Int32[Array, ""]:
    limit = jnp.int32(2**31 - 1 - 2**15)
    return jnp.where(mantissa >= limit, 32767, (jnp.minimum(mantissa, limit) + 2**15) >> 16)


def _multiply_16(first: Int32[Array, "*n"], second: Int32[Array, ""]) -> Int32[Array, "*n"]:
    """Saturating rounding doubling high multiply of 16-bit numbers."""
    product = first * second
    nudged = product + jnp.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return jnp.sign(nudged) * (jnp.abs(nudged) >> 15)


def _saturated_16(value: Int32[Array, "*n"]) -> Int32[Array, "*n"]:
    return jnp.clip(value, -(2**15), 2**15 - 1)


def _leaky_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    del kernels
    alpha = jnp.float32(abs(op["alpha"]))
    return (
        Ratio(first=scales.inputs[0], third=scales.outputs[0], single=True),
        Ratio(first=scales.inputs[0] * alpha, third=scales.outputs[0], single=True),
    )


def _leaky_table(
    op: Op, kernels: Kernels, scales: Scales, multipliers: tuple[Multiplier, ...]
) -> Float[Array, "256"]:
    """Attributes: `alpha`.  XNNPACK keeps 8 fractional bits of either ratio, and leaves to LiteRT what they cannot hold."""
    value = _centred(scales)
    positive, negative = multipliers
    sign = -1 if op["alpha"] < 0 else 1
    above = fixed_point.multiply_double_rounding(value, _scalar(positive))
    below = sign * fixed_point.multiply_double_rounding(value, _scalar(negative))
    result = jnp.where(value >= 0, above, below)
    if kernels == "xnnpack":
        right, left = positive.real[0], positive.real[0] * jnp.float32(op["alpha"])
        above, below = (jnp.round(-256 * ratio).astype(jnp.int32) for ratio in (right, left))
        own = (((-value << 7) * jnp.where(value <= 0, below, above)) + (1 << 14)) >> 15
        held = (right >= 2**-8) & (right <= 2**7)
        held &= (jnp.abs(left) >= 2**-8) & (left >= -_LEAST_LEAK) & (left <= 2**7)
        result = jnp.where(held, own, result)
    return _stored(result, scales)


def _wide_leaky_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """LiteRT multiplies the scales as floats, TFLite Micro as doubles."""
    alpha = jnp.float32(abs(op["alpha"]))
    single = kernels != "micro"
    own, output = scales.inputs[0], scales.outputs[0]
    return (
        Ratio(first=own, third=output, single=single),
        Ratio(first=own, second=alpha, third=output, single=single),
    )


def _wide_leaky(op, kernels, integers, multipliers, scales):
    del kernels, scales
    value = integers[0].astype(jnp.int32)
    above, below = (rescale(value, multiplier, "reference") for multiplier in multipliers)
    sign = -1 if op["alpha"] < 0 else 1
    return (
        Rescaled(
            integers=jnp.where(value >= 0, above.integers, sign * below.integers),
            real=jnp.where(value >= 0, above.real, sign * below.real),
        ),
    )


def _wide_abs(op, kernels, integers, multipliers, scales):
    del op, kernels, scales
    return (rescale(jnp.abs(integers[0].astype(jnp.int32)), multipliers[0], "reference"),)


def _scalar(multiplier: Multiplier) -> Any:
    return jax.tree.map(lambda x: x[0], multiplier.factor)


def _abs_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    del op
    single = kernels != "micro"
    return (Ratio(first=scales.inputs[0], third=scales.outputs[0], single=single),)


def _abs_table(
    op: Op, kernels: Kernels, scales: Scales, multipliers: tuple[Multiplier, ...]
) -> Float[Array, "256"]:
    del op, kernels
    value = jnp.abs(_centred(scales))
    result = fixed_point.multiply_double_rounding(value, _scalar(multipliers[0]))
    result = jnp.where(scales.inputs[0] == scales.outputs[0], value, result)
    return _stored(result, scales)


def _micro_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """To Q4.27, in which TFLite Micro computes."""
    del op
    return (Ratio(first=scales.inputs[0], exponent=27),) if kernels == "micro" else ()


def _micro_table(
    function: Callable[[Int32[Array, "256"]], Int32[Array, "256"]], bits: int
) -> Callable[..., Float[Array, "256"] | None]:
    """Returns the `table` of a function that TFLite Micro computes in fixed point, LiteRT in floats.

    Args:
      function: From Q4.27 to Q0.31.
      bits: Of the output's fraction.
    """

    def table(
        op: Op, kernels: Kernels, scales: Scales, multipliers: tuple[Multiplier, ...]
    ) -> Float[Array, "256"] | None:
        del op
        if kernels != "micro":
            return None
        (multiplier,) = multipliers
        value, exponent = _centred(scales), multiplier.exponent[0]
        radius = jnp.int32(15 << 27) >> exponent  # from 15 on, the kernel takes the ends
        inner = jnp.abs(value) < radius
        scaled = fixed_point.doubling_high_multiply(
            jnp.where(inner, value, 0) << exponent, multiplier.mantissa[0]
        )
        units = fixed_point.divide_by_power_of_two(function(scaled), jnp.int32(31 - bits))
        ends = jnp.where(value < 0, -(1 << 20), 1 << 20)
        return _stored(jnp.where(inner, units, ends), scales)

    return table


def _constantly(function: Function) -> Callable[[Op], Function]:
    return lambda op: function


# XNNPACK rounds ties to even, and its exponential has other last bits: of thousands of tables of 256 one
# or two entries differ.
_BOUNDS: Mapping[Kernels, int] = MappingProxyType({"xnnpack": 1})
LOGISTIC = OpKind(
    name="logistic",
    compute=lambda op, values: (jax.nn.sigmoid(values),),
    table=_micro_table(fixed_functions.logistic, 8),
    ratios=_micro_ratios,
    function=_constantly(Function(jax.nn.sigmoid, _logistic)),
    fixed_range=(1 / 256, -128),
    elementwise=True,
    wide=sigmoid.LOGISTIC,
    bounds=_BOUNDS,
)
TANH = OpKind(
    name="tanh",
    compute=lambda op, values: (jnp.tanh(values),),
    table=_micro_table(fixed_functions.tanh, 7),
    ratios=_micro_ratios,
    function=_constantly(Function(jnp.tanh, _tanh)),
    fixed_range=(1 / 128, 0),
    elementwise=True,
    wide=sigmoid.TANH,
    bounds=_BOUNDS,
)
HARD_SWISH = OpKind(
    name="hard_swish",
    compute=lambda op, values: (jax.nn.hard_swish(values),),
    table=_hard_swish_table,
    least_ratio=1.001 / 128,  # its multiplier must be below 1
    ratios=_hard_swish_ratios,
    elementwise=True,
)
LEAKY_RELU = OpKind(
    name="leaky_relu",
    compute=lambda op, values: (jnp.where(values < 0, values * op["alpha"], values),),
    table=_leaky_table,
    ratios=_leaky_ratios,
    elementwise=True,
    homogeneous="jointly",
    wide=Wide(integer=_wide_leaky, ratios=_wide_leaky_ratios),
)
ABS = OpKind(
    name="abs",
    compute=lambda op, values: (jnp.abs(values),),
    table=_abs_table,
    ratios=_abs_ratios,
    elementwise=True,
    homogeneous="jointly",
    wide=Wide(integer=_wide_abs),
)
LOOKUP = OpKind(name="lookup", compute=_apply, function=_of_attribute, elementwise=True)
