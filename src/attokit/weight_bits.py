"""Bits of kernels as the command line takes them: `4`, or `PATTERN=4`."""

from collections.abc import Sequence
from typing import get_args

from attokit.quant.kernel_bits import Bits


def parse_weight_bits(texts: Sequence[str]) -> dict[str, Bits]:
    """Returns bits by pattern of names, such as {"*": 4, "stem/*": 8} of `4 stem/*=8`.

    A bare number is of all kernels that may have so many; of several patterns that fit, the last
    one counts.

    Raises:
      ValueError: if a text is neither, a number is neither 4 nor 8, or a pattern comes twice.
    """
    bits: dict[str, Bits] = {}
    for text in texts:
        pattern, _, number = text.rpartition("=")
        pattern = pattern or "*"
        known = {str(value): value for value in get_args(Bits)}
        if number not in known:
            raise ValueError(
                f"weight bits {text!r} are not 4 or 8, nor PATTERN=4, such as 'head/*=4'"
            )
        if pattern in bits:
            raise ValueError(f"weight bits of {pattern!r} are given twice: give one of them")
        bits[pattern] = known[number]
    return bits
