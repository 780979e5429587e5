"""Functions of int16: straight lines between 513 values, as TFLite's kernels draw them."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32

_STEPS = 512
_FRACTION = 7  # bits of an int16 that lie between two values


def entries(
    function: Callable[[np.ndarray], np.ndarray],
    first: float,
    last: float,
    per_unit: float,
    number: type = np.float64,
) -> Int[np.ndarray, "513"]:
    """Returns a function's values at 513 places, moved by half of what a line would miss between two.

    Args:
      function: Of an array.
      first: Where the least int16 lies.
      last: Where the greatest does.
      per_unit: Integers per unit of the result.
      number: What the kernel computes in.
    """
    first, last, per_unit = number(first), number(last), number(per_unit)
    step = (last - first) / number(_STEPS)
    place: np.ndarray = np.arange(_STEPS + 1).astype(number)
    starts = first + place[:-1] * step

    def scaled(at: np.ndarray) -> np.ndarray:
        return np.asarray(function(at.astype(np.float64)), number) * per_unit

    values, ends = _rounded(scaled(starts)), scaled(first + place[1:] * step)
    chord = _rounded((ends + values) / number(2))
    missed = chord - _rounded(scaled(starts + step / number(2)))
    moved = values - _rounded(missed / number(2))
    closing = _rounded(scaled(np.asarray([last])))
    return np.clip(np.concatenate([moved, closing]), -32768, 32767).astype(np.int32)


def _rounded(values: np.ndarray) -> np.ndarray:
    whole = np.trunc(values)
    return whole + np.where(np.abs(values - whole) >= 0.5, np.sign(values), 0).astype(values.dtype)


def interpolated(table: Any, value: Int32[Array, "*n"]) -> Int32[Array, "*n"]:
    """Returns the function's value for each int16."""
    table = jnp.asarray(table)
    index, between = (value >> _FRACTION) + _STEPS // 2, value & ((1 << _FRACTION) - 1)
    base = table[index]
    half = 1 << (_FRACTION - 1)
    return base + (((table[index + 1] - base) * between + half) >> _FRACTION)
