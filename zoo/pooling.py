"""Max pooling without overlap, whose gradient is fast on CPU.

XLA's CPU backend scatters the gradient of a pooling window cell by cell.  Windows that do not overlap
need no scatter: the gradient goes to the largest cells of each window.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: Float[Array, "b h w c"], window: int) -> Float[Array, "b h2 w2 c"]:
    """Returns the largest value of each `window` x `window` cells; a window may hang over the edge.

    Where several cells are largest, they share the gradient.
    """
    return nn.max_pool(x, (window, window), strides=(window, window), padding="SAME")


def _forward(x: Array, window: int) -> tuple[Array, Array]:
    return max_pool(x, window), x


def _backward(window: int, x: Array, cotangent: Array) -> tuple[Array]:
    return jax.vjp(functools.partial(_by_blocks, window), x)[1](cotangent)


def _by_blocks(window: int, x: Array) -> Array:
    """Returns the same maxima, of blocks along axes of their own."""
    pads = [
        (missing // 2, missing - missing // 2) for missing in (-n % window for n in x.shape[1:3])
    ]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    b, h, w, c = x.shape
    x = x.reshape(b, h // window, window, w // window, window, c)
    return jnp.max(x, axis=(2, 4))


max_pool.defvjp(_forward, _backward)
