"""AVERAGE_POOL_2D and MAX_POOL_2D.

Attributes: `window` (h, w), `strides` (h, w), `padding` ("SAME" or "VALID").  Cells outside the
image count neither in the maximum nor in the average.  Input and output share one scale.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.quant.ops.kind import Op, OpKind, Rescaled, Wide


def _reduce(op: Op, images: Array, initial: float, function) -> Array:
    (kh, kw), (sh, sw) = op["window"], op["strides"]
    return jax.lax.reduce_window(
        images,
        np.asarray(initial, images.dtype),  # concrete, or JAX finds no derivative
        function,
        (1, kh, kw, 1),
        (1, sh, sw, 1),
        op["padding"],
    )


def cell_counts(op: Op, height: int, width: int) -> np.ndarray:
    """Returns how many cells of each window lie inside the image, float32 [1, h', w', 1]."""
    counts = [
        _axis_counts(size, window, stride, op["padding"])
        for size, window, stride in zip((height, width), op["window"], op["strides"], strict=True)
    ]
    return np.outer(*counts)[None, :, :, None].astype(np.float32)


def _axis_counts(size: int, window: int, stride: int, padding: str) -> np.ndarray:
    if padding == "VALID":
        return np.full((size - window) // stride + 1, window)
    outputs = -(-size // stride)
    before = max(0, (outputs - 1) * stride + window - size) // 2
    starts = np.arange(outputs) * stride - before
    return np.minimum(starts + window, size) - np.maximum(starts, 0)


def _compute_average(op, images):
    counts = jnp.asarray(cell_counts(op, *images.shape[1:3]), images.dtype)
    return (_reduce(op, images, 0, jax.lax.add) / counts,)


def _integer_average(op, kernels, integers, multipliers, scales):
    """Rounds the mean of the stored integers (zero point included) half away from zero."""
    del kernels, multipliers
    (images,) = integers
    counts = jnp.asarray(cell_counts(op, *images.shape[1:3]).astype(np.int32))
    zero_point = scales.input_zero_points[0].astype(jnp.int32)
    total = _reduce(op, images, 0, jax.lax.add).astype(jnp.int32) + counts * zero_point
    rounded = jnp.sign(total) * ((jnp.abs(total) + counts // 2) // counts)
    return (Rescaled(integers=rounded - zero_point),)


def _integer_wide_average(op, kernels, integers, multipliers, scales):
    """The same in int32: float32 holds the sums of few int16."""
    return _integer_average(op, kernels, [integers[0].astype(jnp.int32)], multipliers, scales)


def _compute_max(op: Op, images: Float[Array, "b h w c"]) -> tuple[Array]:
    return (_reduce(op, images, -np.inf, jax.lax.max),)


AVERAGE_POOL_2D = OpKind(
    name="average_pool_2d",
    compute=_compute_average,
    integer=_integer_average,
    tied=True,
    homogeneous="jointly",
    wide=Wide(integer=_integer_wide_average),
)
MAX_POOL_2D = OpKind(
    name="max_pool_2d",
    compute=_compute_max,
    tied=True,
    homogeneous="jointly",
    ignores="below",
    wide=Wide(),
)
