"""Integers beyond 32 bits, which sums over int16 activations need, in two words of int32.

An int16 is 256 * high + low, with high in [-128, 127] and low in [0, 255].  Both parts are as narrow
as an int8, so what is linear in activations is computed for each with the machinery of int8, and put
together here.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, UInt32

from attokit.quant.ops.kind import Multiplier

_WORD = 0xFFFF


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Long:
    """high * 2**16 + low, below 2**46 in magnitude.

    Attributes:
      high: Of either sign.
      low: In [0, 2**16).
    """

    high: Int32[Array, "*n"]
    low: Int32[Array, "*n"]

    def __add__(self, other: "Long") -> "Long":
        """Returns the sum; shapes broadcast, ranks are equal."""
        low = self.low + other.low
        return Long(self.high + other.high + (low >> 16), low & _WORD)

    def scaled(self, bits: int) -> "Long":
        """Returns the product with 2**bits, for at most 8 bits."""
        low = self.low << bits
        return Long((self.high << bits) + (low >> 16), low & _WORD)

    def real(self) -> Float[Array, "*n"]:
        """Returns the float32 nearest to it, but for a rounding or two."""
        return self.high.astype(jnp.float32) * 65536 + self.low.astype(jnp.float32)

    def magnitude(self) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
        """Returns the high and low 32 bits of the absolute value."""
        low = (self.high.astype(jnp.uint32) << 16) | self.low.astype(jnp.uint32)
        high = (self.high >> 16).astype(jnp.uint32)
        negative = self.high < 0
        borrowed = ~high + (low == 0).astype(jnp.uint32)
        return jnp.where(negative, borrowed, high), jnp.where(negative, ~low + 1, low)


def of(value: Int32[Array, "*n"]) -> Long:
    """Returns an int32."""
    return Long(value >> 16, value & _WORD)


def halves(
    values: Float[Array, "*n"],
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Returns the parts of int16 held in float32: values == 256 * high + low, low in [0, 255]."""
    high = jnp.floor(values * jnp.float32(1 / 256))
    return high, values - high * 256


def joined(high: Int32[Array, "*n"], low: Int32[Array, "*n"]) -> Long:
    """Returns 256 * high + low, for what was computed of either half."""
    return of(high).scaled(8) + of(low)


def multiply_reduced(value: Long, multiplier: Multiplier) -> Int32[Array, "*n"]:
    """Returns value times a multiplier of which 15 bits are kept, ties upwards.

    That is how TFLite's kernels rescale a 64-bit accumulator: `MultiplyByQuantizedMultiplier` of an
    int64.

    Args:
      value: Below 2**46 in magnitude.
      multiplier: Its fields have a shape that broadcasts against the value.
    """
    mantissa = multiplier.mantissa
    # (mantissa + 2**15) >> 16, at most 15 bits, without leaving int32.
    factor = jnp.minimum((mantissa >> 16) + ((mantissa >> 15) & 1), 0x7FFF)
    shift = jnp.clip(15 - multiplier.exponent, 1, 63)
    lowest = value.low * factor
    middle = (value.high & _WORD) * factor + (lowest >> 16)
    upper = (value.high >> 16) * factor + (middle >> 16)
    lower = (middle.astype(jnp.uint32) << 16) | (lowest & _WORD).astype(jnp.uint32)
    return _rounding_shift(upper, lower, shift)


def _rounding_shift(
    upper: Int32[Array, "*n"], lower: UInt32[Array, "*n"], shift: Int32[Array, "*n"]
) -> Int32[Array, "*n"]:
    """Returns (upper * 2**32 + lower + 2**(shift - 1)) >> shift, for shifts of 1 to 63."""
    place = shift - 1
    bit = jnp.uint32(1) << (place & 31).astype(jnp.uint32)
    total = lower + jnp.where(place < 32, bit, jnp.uint32(0))
    carry = (total < lower).astype(jnp.int32)
    upper = upper + carry + jnp.where(place < 32, jnp.uint32(0), bit).astype(jnp.int32)
    within = (shift & 31).astype(jnp.uint32)
    # A shift by 32 - within in two steps: within may be 0.
    carried = (upper.astype(jnp.uint32) << (31 - within)) << 1
    near = (carried | (total >> within)).astype(jnp.int32)
    return jnp.where(shift < 32, near, upper >> within.astype(jnp.int32))


def divide_by_power_of_two(value: Long, bits: int) -> Int32[Array, "*n"]:
    """Returns round(value / 2**bits), ties away from zero, for 17 to 31 bits."""
    half = jnp.int32(1 << (bits - 1))
    return (value + of(half - (value.high < 0).astype(jnp.int32))).high >> (bits - 16)
