"""Random numbers that a file takes."""

import numpy as np

from attokit.export.anatomy import TensorInfo

_IMAGE_AXES = 4


def random_input(
    tensor: TensorInfo, shape: tuple[int, ...], random: np.random.Generator
) -> np.ndarray:
    """Returns an input of a shape: reals of [0, 1), or integers of all that its type holds.

    Integers without a scale are 0 or 1, which as counts and indices every table has, unless they are the bytes of
    images.

    Raises:
      ValueError: if the file takes something else than numbers.
    """
    if "float" in tensor.dtype:
        return random.random(shape, np.float32).astype(tensor.dtype)
    if tensor.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if "int" not in tensor.dtype:
        raise ValueError(
            f"input {tensor.name!r} takes {tensor.dtype}, and only numbers are drawn: run the file on data of yours"
        )
    limits = np.iinfo(tensor.dtype)
    pixels = limits.bits == 8 and len(tensor.shape) == _IMAGE_AXES
    low, high = (limits.min, limits.max + 1) if tensor.scale.size or pixels else (0, 2)
    return random.integers(low, high, shape).astype(tensor.dtype)
