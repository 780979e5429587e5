"""Damaged copies of a file, for readers that must not crash."""

import numpy as np


def mutated(file: bytes, seed: int) -> bytes:
    """Returns a file with bytes changed, cut off, repeated or zeroed, by a seed."""
    random = np.random.default_rng(seed)
    data = bytearray(file)
    kind = seed % 4
    if kind == 0:
        for position in random.integers(8, len(data), random.integers(1, 17)):
            data[position] = random.integers(256)
    elif kind == 1:
        del data[int(random.integers(8, len(data))) :]
    elif kind == 2:
        start, length = int(random.integers(8, len(data))), int(random.integers(1, 64))
        data[start : start + length] = bytes(length)
    else:  # numbers that look like offsets, far or negative
        for position in random.integers(2, len(data) // 4, 6):
            value = int(random.choice([0, 1, 4, len(data), 2**31 - 1, 2**32 - 1]))
            data[4 * position : 4 * position + 4] = value.to_bytes(4, "little")
    return bytes(data)
