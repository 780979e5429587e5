"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR of images [b, h, w, c].

Attributes: `size` (rows, columns of the result), `mode`: where the centres of the result's cells
lie in the image.  "half_pixel": cells are squares and the images cover each other (JAX's and
PyTorch's convention); "align_corners": the centres of the corners coincide; "legacy": the first
centres do, and steps are input / output.  Input and output share one scale.
"""

from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from attokit.quant import long_integers
from attokit.quant.ops.kind import LITERT, Op, OpKind, Rescaled, Wide

Mode = Literal["half_pixel", "legacy", "align_corners"]
MODES: tuple[Mode, ...] = get_args(Mode)
_BITS = 10  # fractional bits of a place in the reference kernel
_FINE_BITS = 11  # in XNNPACK's


def nearest(size: int, result: int, mode: Mode) -> np.ndarray:
    """Returns the index that RESIZE_NEAREST_NEIGHBOR takes for each cell of an axis, int64."""
    corners = mode == "align_corners" and result > 1
    step = np.float32(size - corners) / np.float32(result - corners)
    half = np.float32(0.5 if mode == "half_pixel" else 0)
    place = (np.arange(result, dtype=np.float32) + half) * step
    index = np.floor(place + np.float32(0.5)) if corners else np.floor(place)
    return np.clip(index, 0, size - 1).astype(np.int64)


def interpolation(size: int, result: int, mode: Mode) -> np.ndarray:
    """Returns the matrix [size, result] of linear interpolation along one axis, float64."""
    corners = mode == "align_corners" and result > 1
    step = (size - corners) / (result - corners)
    place = np.arange(result) * step + (step / 2 - 0.5 if mode == "half_pixel" else 0)
    distance = np.abs(np.clip(place, 0, size - 1) - np.arange(size)[:, None])
    return np.maximum(0, 1 - distance)


def _compute_nearest(op: Op, images: Array) -> tuple[Array]:
    rows, columns = (
        nearest(n, m, op["mode"]) for n, m in zip(images.shape[1:3], op["size"], strict=True)
    )
    return (images[:, rows][:, :, columns],)


def _compute_bilinear(op: Op, images: Array) -> tuple[Array]:
    rows, columns = (
        jnp.asarray(interpolation(n, m, op["mode"]), images.dtype)
        for n, m in zip(images.shape[1:3], op["size"], strict=True)
    )
    return (jnp.einsum("bhwc,hy,wx->byxc", images, rows, columns),)


def _places(size: int, result: int, mode: Mode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the two neighbours of each cell and how far it is from the first, times 1024."""
    one = 1 << _BITS
    corners = mode == "align_corners" and result > 1
    rounding = (result - 1) // 2 if corners else result // 2
    step = (one * (size - corners) + rounding) // (result - corners)
    place = np.arange(result) * step + (step // 2 - one // 2 if mode == "half_pixel" else 0)
    low = np.maximum(np.trunc(place / one).astype(np.int64), 0)
    high = np.minimum(np.trunc((place + one - 1) / one).astype(np.int64), size - 1)
    return low, high, (place - low * one).astype(np.int32)


def _fine_places(size: int, result: int, mode: Mode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_places`, in XNNPACK's float32 and times 2048."""
    corners = mode == "align_corners" and result != 1
    step = np.float32(size - corners) / np.float32(result - corners)
    place = np.arange(result, dtype=np.float32) * step
    if mode == "half_pixel":
        place = place + (np.float32(0.5) * step - np.float32(0.5))
    place = np.clip(place, np.float32(0), np.float32(size - 1))
    low = place.astype(np.int64)
    fraction = np.rint((place - low.astype(np.float32)) * np.float32(1 << _FINE_BITS))
    return low, np.minimum(low + 1, size - 1), fraction.astype(np.int32)


def _integer_bilinear(op, kernels, integers, multipliers, scales):
    """Interpolates the stored integers (zero point included) with weights of 10 or 11 bits."""
    del multipliers
    fine = kernels == "xnnpack"
    zero_point = scales.input_zero_points[0].astype(jnp.int32)
    bits = _FINE_BITS if fine else _BITS
    total = _interpolated(op, integers[0].astype(jnp.int32) + zero_point, fine)
    half = 1 << (2 * bits - 1)
    if fine:
        rounded = (total + half) >> (2 * bits)
    else:  # away from zero
        rounded = jnp.sign(total) * ((jnp.abs(total) + half) >> (2 * bits))
    return (Rescaled(integers=rounded - zero_point),)


def _interpolated(op: Op, stored: Int32[Array, "b h w c"], fine: bool) -> Int32[Array, "b y x c"]:
    """Returns weighted sums of integers of 9 bits at most, times the square of the weights' unit."""
    find = _fine_places if fine else _places
    (top, bottom, down), (left, right, across) = (
        find(n, m, op["mode"]) for n, m in zip(stored.shape[1:3], op["size"], strict=True)
    )
    down, across = down.reshape(1, -1, 1, 1), across.reshape(1, 1, -1, 1)
    upper, lower = stored[:, top], stored[:, bottom]
    bits = _FINE_BITS if fine else _BITS
    first, second = (
        (row[:, :, left] << bits) + (row[:, :, right] - row[:, :, left]) * across
        for row in (upper, lower)
    )
    return (first << bits) + (second - first) * down


def _integer_wide_bilinear(op, kernels, integers, multipliers, scales):
    """The reference form on either half of the integers."""
    del kernels, multipliers, scales
    high, low = (
        _interpolated(op, half.astype(jnp.int32), fine=False)
        for half in long_integers.halves(integers[0])
    )
    total = long_integers.joined(high, low)
    return (Rescaled(integers=long_integers.divide_by_power_of_two(total, 2 * _BITS)),)


RESIZE_BILINEAR = OpKind(
    name="resize_bilinear",
    compute=_compute_bilinear,
    integer=_integer_bilinear,
    tied=True,
    homogeneous="jointly",
    wide=Wide(integer=_integer_wide_bilinear, kernels=LITERT),
)
RESIZE_NEAREST_NEIGHBOR = OpKind(
    name="resize_nearest_neighbor",
    compute=_compute_nearest,
    tied=True,
    homogeneous="jointly",
    wide=Wide(),
)
