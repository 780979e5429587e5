"""Scales of kernels: symmetric, per output channel or one for all.

Sources: LSQ (Esser et al., 2020), section 2.1; LSQ+ (Bhalgat et al., 2020), section 3.3.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

from attokit.quant import params

KernelMethod = Literal["minmax", "mse", "lsq", "lsq+"]
_SIGMAS = 3  # standard deviations that LSQ+ covers


def kernel_scale(
    kernel: np.ndarray,
    bias: np.ndarray | None,
    scale_in: float,
    per_channel: bool,
    method: KernelMethod = "minmax",
    bits: int = 8,
) -> np.ndarray:
    """Returns float32 scales [cout] for a kernel [..., cout] that leave its bias within int32.

    A channel that is all zeros (a batch norm with gamma 0) still needs a scale at which its bias
    does not overflow.

    Args:
      kernel: Of a convolution or dense layer.
      bias: Its bias [cout], or None.
      scale_in: Of its input.
      per_channel: One scale per channel; otherwise all are the same.
      method: Of `METHODS`.
      bits: Of the integers.
    """
    rows = kernel.reshape(-1, kernel.shape[-1])
    if not per_channel:
        rows = rows.reshape(-1, 1)
    limit = params.kernel_max(bits)
    covering = np.maximum(np.abs(rows).max(axis=0) / limit, params.MIN_SCALE)
    # A scale beyond the one that covers all values only rounds more.
    scale = np.minimum(METHODS[method](rows, covering, limit), covering)
    scale = np.broadcast_to(scale, kernel.shape[-1:])
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias) / (scale_in * 2.0**30))
        if not per_channel:
            scale = np.full_like(scale, scale.max())
    zero = np.broadcast_to(~rows.any(axis=0), scale.shape)
    return np.where(zero, np.maximum(scale, 1e-6), scale).astype(np.float32)


def _minmax(rows: np.ndarray, covering: np.ndarray, limit: int) -> np.ndarray:
    """Covers every value."""
    del rows, limit
    return covering


def _mse(rows: np.ndarray, covering: np.ndarray, limit: int) -> np.ndarray:
    """Minimizes the mean squared error of rounding and clipping, in steps of 1 %."""
    best, least = covering, np.full(covering.shape, np.inf)
    for factor in np.linspace(1, 0.3, 71):
        scale = covering * factor
        rounded = np.clip(np.rint(rows / scale), -limit, limit) * scale
        error = np.mean((rows - rounded) ** 2, axis=0)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def _lsq(rows: np.ndarray, covering: np.ndarray, limit: int) -> np.ndarray:
    """Twice the mean magnitude, over the root of the greatest integer."""
    del covering
    mean = np.abs(rows).mean(axis=0)
    return np.maximum(2 * mean / math.sqrt(limit), params.MIN_SCALE)


def _lsq_plus(rows: np.ndarray, covering: np.ndarray, limit: int) -> np.ndarray:
    """Covers three standard deviations."""
    del covering
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    reach = np.maximum(np.abs(mean - _SIGMAS * deviation), np.abs(mean + _SIGMAS * deviation))
    return np.maximum(reach / limit, params.MIN_SCALE)


METHODS: Mapping[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = MappingProxyType(
    {"minmax": _minmax, "mse": _mse, "lsq": _lsq, "lsq+": _lsq_plus}
)
