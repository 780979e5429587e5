"""Bilinear resizing of activations: half-pixel centres, the convention of JAX, PyTorch and RESIZE_BILINEAR."""

import functools

import jax
from jaxtyping import Array, Float


def resize(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Returns activations interpolated to exactly `size` rows and columns; the same ones if they fit.

    Cells are squares and the images cover each other, so sizes need no common factor.  Weights of a
    cell sum to 1: resizing commutes with 1x1 convolutions.  Shrinking takes no averages.
    """
    size = (int(size[0]), int(size[1]))
    return x if x.shape[1:3] == size else resize_bilinear(x, size)


@functools.partial(jax.jit, static_argnames=("size",))
def resize_bilinear(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Returns `resize` where sizes differ: the call that a jaxpr shows and `count_macs` leaves out."""
    shape = (x.shape[0], *size, x.shape[3])
    return jax.image.resize(x, shape, "bilinear", antialias=False)
