"""Scales and zero points: the numbers that turn reals into the integers of the file.

`qparams` is a flat dict: one entry per range of activations (tensors that TFLite wants on one
scale share one), per kernel (one scale per output channel) and per constant operand.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.quant.fixed_point import round_half_away

INT8_MIN, INT8_MAX = -128, 127
WIDE_FIXED = (1 / 32768, 0)  # scale and zero point of int16 in [-1, 1), where the spec prescribes
MIN_SCALE = 2.0**-100  # keeps products of two scales a normal float32
_APART = 0.002


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuantParams:
    """real = scale * (integer - zero_point).

    Attributes:
      scale: float32, positive; scalar, or one per output channel of a kernel.
      zero_point: Integer-valued float32 in [-128, 127], so that it can be learned; 0 for kernels
        and int16.
      bits: Of the integers: 8, or 4 for kernels in [-7, 7], or 16 for activations.
    """

    scale: Float[Array, "*c"]
    zero_point: Float[Array, ""]
    bits: int = dataclasses.field(default=8, metadata={"static": True})


QParams = Mapping[str, QuantParams]


def from_range(low: float, high: float) -> QuantParams:
    """Returns the int8 parameters that cover [low, high] and hold zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:  # a tensor that is always zero: any scale will do
        return QuantParams(jnp.float32(1 / 255), jnp.float32(0))
    scale = max((high - low) / (INT8_MAX - INT8_MIN), MIN_SCALE)
    zero_point = round(INT8_MIN - low / scale)
    return QuantParams(jnp.float32(scale), jnp.float32(min(max(zero_point, INT8_MIN), INT8_MAX)))


def symmetric_range(low: float, high: float) -> QuantParams:
    """Returns the parameters with zero point 0 that cover [low, high] by [-127, 127]."""
    return _symmetric(low, high, 8)


def wide_range(low: float, high: float) -> QuantParams:
    """Returns the parameters that cover [low, high] by int16 in [-32767, 32767].

    A scale within 0.07 % of 2**-12 or 2**-11 makes LiteRT compute LOGISTIC and TANH by other
    kernels, so none of those is chosen.
    """
    entry = _symmetric(low, high, 16)
    for avoided in (2.0**-12, 2.0**-11):
        if abs(float(entry.scale) / avoided - 1) < _APART:
            return dataclasses.replace(entry, scale=jnp.float32(avoided * (1 + _APART)))
    return entry


def _symmetric(low: float, high: float, bits: int) -> QuantParams:
    reach, limit = max(abs(low), abs(high)), kernel_max(bits)
    scale = max(reach / limit, MIN_SCALE) if reach else 1 / limit
    return QuantParams(jnp.float32(scale), jnp.float32(0), bits)


def kernel_max(bits: int) -> int:
    """Returns the largest integer of a symmetric range: 127, or 7, or 32767."""
    return 2 ** (bits - 1) - 1


def limits(bits: int) -> tuple[int, int]:
    """Returns the least and greatest integer of an activation."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def quantize_kernel(
    kernel: Float[Array, "..."], scale: Float[Array, "*c"], bits: int = 8, numpy: Any = jnp
) -> Float[Array, "..."]:
    """Returns the kernel's integers in [-127, 127], or [-7, 7], as float32 (ties to even).

    This function and those below compute with `jax.numpy` or, the same, with `numpy`.
    """
    scale = scale.reshape((1,) * (kernel.ndim - scale.ndim) + scale.shape)
    limit = kernel_max(bits)
    return numpy.clip(numpy.round(_quotient(kernel, scale, numpy)), -limit, limit)


def quantize_bias(bias: Float[Array, " c"], scale: Float[Array, " c"], numpy: Any = jnp) -> Array:
    """Returns the bias in int32 at scale s_in * s_kernel (ties to even, saturating)."""
    limit = numpy.float32(2**31 - 128)  # the largest float32 below 2**31
    rounded = numpy.round(_quotient(bias, scale, numpy))
    return numpy.clip(rounded, -limit, limit).astype(numpy.int32)


def quantize_centred(
    values: Float[Any, "..."],
    scale: Float[Any, ""],
    zero_point: Float[Any, ""],
    bits: int = 8,
    numpy: Any = jnp,
) -> Float[Array, "..."]:
    """Returns int8 or int16 integers minus their zero point, as float32 (ties away from zero)."""
    quotient = _quotient(values, scale, numpy)
    rounded = round_half_away(quotient) if numpy is jnp else _round_half_away(quotient)
    low, high = limits(bits)
    return numpy.clip(rounded, low - zero_point, high - zero_point)


def _round_half_away(values: Any) -> Any:
    """Returns what `fixed_point.round_half_away` does, in NumPy."""
    whole = np.trunc(values)
    with np.errstate(invalid="ignore"):  # of infinities the difference is none
        return whole + np.where(np.abs(values - whole) >= 0.5, np.sign(values), np.float32(0))


def _quotient(
    values: Float[Array, "..."], scale: Float[Array, "*c"], numpy: Any
) -> Float[Array, "..."]:
    """Returns values / scale, each rounded once.

    XLA turns a division by something broadcast into a product with its reciprocal, which rounds
    twice, and export divides.  A divisor that seems to differ from element to element it divides by.
    """
    if numpy is not jnp:
        with np.errstate(over="ignore"):  # what does not fit saturates
            return values / scale
    return values / (scale + jnp.float32(0) * jnp.clip(values, -1, 1))
