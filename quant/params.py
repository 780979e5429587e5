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
MIN_SCALE = 2.0**-100  # keeps products of two scales a normal float32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuantParams:
    """real = scale * (integer - zero_point).

    Attributes:
      scale: float32, positive; scalar, or one per output channel of a kernel.
      zero_point: Integer-valued float32 in [-128, 127], so that it can be learned; 0 for kernels.
      bits: Of the integers: 8, or 4 for kernels in [-7, 7].
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
    reach = max(abs(low), abs(high))
    scale = max(reach / INT8_MAX, MIN_SCALE) if reach else 1 / INT8_MAX
    return QuantParams(jnp.float32(scale), jnp.float32(0))


def kernel_max(bits: int) -> int:
    """Returns the largest integer of a kernel, which is symmetric and narrow: 127, or 7."""
    return 2 ** (bits - 1) - 1


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
    numpy: Any = jnp,
) -> Float[Array, "..."]:
    """Returns int8 integers minus their zero point, as float32 (ties away from zero)."""
    quotient = _quotient(values, scale, numpy)
    rounded = round_half_away(quotient) if numpy is jnp else _round_half_away(quotient)
    return numpy.clip(rounded, INT8_MIN - zero_point, INT8_MAX - zero_point)


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
