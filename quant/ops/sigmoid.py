"""LOGISTIC and TANH of int16: both read one table of the logistic function, 24 entries a unit.

tanh(x) = 2 logistic(2 x) - 1.  The output is in units of 1/32768.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Rescaled, Scales, Wide

_PER_UNIT = 24
_FRACTION = 9  # bits of an argument, in units of 1 / (3 * 4096), between two entries
_TOLERANCE = (
    1e-3  # within which the kernel takes the binary logarithm of a scale for a whole number
)


def _table() -> Int[np.ndarray, "256"]:
    """Returns 65536 logistic(i / 24), moved by half of what a line to the next entry would miss."""

    def logistic(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    place = np.arange(256) / _PER_UNIT
    start, end = logistic(place), logistic(place + 1 / _PER_UNIT)
    missed = logistic(place + 0.5 / _PER_UNIT) - (start + end) / 2
    table = np.floor(65536 * (start + missed / 2) + 0.5).astype(np.int32)
    table[-1] = 65535
    return table


_TABLE = _table()


def _argument(
    values: Int32[Array, "*n"], scale: Float[Array, ""], exponents: tuple[int, ...]
) -> Int32[Array, "*n"]:
    """Returns values * scale in units of 1 / (3 * 4096), by a multiplier of 15 bits, rounded down.

    Args:
      values: int16.
      scale: Below 1.3.
      exponents: Of the powers of two that the kernel takes scales near them for.
    """
    mantissa, exponent = fixed_point.split(scale)
    triple = 3 * mantissa.astype(jnp.int32)
    kept = jnp.where(triple <= 32767 << 10, 10, 11)
    left = jnp.clip(-kept - exponent - 12, 0, 30)
    factor = triple >> kept
    for power in exponents:
        near = jnp.abs(jnp.log2(scale) - power) < _TOLERANCE
        factor = jnp.where(near, 3 << (power + 12), factor)
        left = jnp.where(near, 0, left)
    return (values * factor + ((1 << left) >> 1)) >> left


def _looked_up(argument: Int32[Array, "*n"], bits: int, greatest: int) -> Int32[Array, "*n"]:
    """Returns the table's value at |argument| / 2**bits, with as many more bits.

    Args:
      argument: Of either sign.
      bits: That lie between two entries.
      greatest: What counts beyond the table.
    """
    table, magnitude = jnp.asarray(_TABLE), jnp.abs(argument)
    index = magnitude >> bits
    low = jnp.minimum(index, 254)
    between = (magnitude & ((1 << bits) - 1)) * (table[low + 1] - table[low])
    return jnp.where(index >= 255, greatest, (table[low] << bits) + between)


def _logistic(op, kernels, integers, multipliers, scales: Scales):
    del op, kernels, multipliers
    argument = _argument(integers[0].astype(jnp.int32), scales.inputs[0], (-12,))
    result = _looked_up(argument, _FRACTION, 0x7FFF << 10)
    half = 1 << 9
    signed = jnp.where(argument >= 0, result + half, (1 << 25) - result + half - 1)
    return (Rescaled(integers=signed >> 10),)


def _tanh(op, kernels, integers, multipliers, scales: Scales):
    del op, kernels, multipliers
    argument = _argument(integers[0].astype(jnp.int32), scales.inputs[0], (-12, -11))
    result = _looked_up(argument, _FRACTION - 1, 0xFFFF << 8) - (1 << 23)
    signed = jnp.where(argument >= 0, result + 128, -result + 127)
    return (Rescaled(integers=signed >> 8),)


LOGISTIC = Wide(integer=_logistic)
TANH = Wide(integer=_tanh)
