"""How kernels start: uniform numbers of He's variance, cheap to compile.

XLA's CPU backend inlines the counter hash of every key: ten draws by `jax.random.normal` take 13.7 s
to compile, ten by the platform's own generator, seeded by the key, 1.1 s.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax import lax
from jaxtyping import Array, Float


def he_fan_out(groups: int = 1) -> Initializer:
    """Returns an initializer of variance 2 / fan-out, so that gradients keep their size (He 2015).

    An input channel feeds only the outputs of its own group, so the fan-out is smaller by `groups`.
    """

    def initialize(
        key: Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None
    ) -> Array:
        del out_sharding  # the compiler places it
        fan_out = math.prod(shape[:-2]) * shape[-1] // groups
        bound = math.sqrt(3.0 * 2.0 / fan_out)
        return uniform(key, tuple(shape), bound).astype(dtype)

    return initialize


def lecun_fan_in(
    key: Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None
) -> Array:
    """Returns uniform numbers of variance 1 / fan-in: the start of a linear head."""
    del out_sharding
    return uniform(key, tuple(shape), math.sqrt(3.0 / math.prod(shape[:-1]))).astype(dtype)


def of_deviation(deviation: float) -> Initializer:
    """Returns an initializer of a standard deviation, whatever the shape: how predictors start."""

    def initialize(
        key: Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None
    ) -> Array:
        del out_sharding
        return uniform(key, tuple(shape), math.sqrt(3.0) * deviation).astype(dtype)

    return initialize


def uniform(key: Array, shape: tuple[int, ...], bound: float) -> Float[Array, "..."]:
    """Returns uniform numbers in [-bound, bound); the same key gives the same ones on a platform."""
    words = jax.random.key_data(key).astype(jnp.uint32)
    _, bits = lax.rng_bit_generator(jnp.resize(words, (4,)), shape, dtype=jnp.uint32)
    # 24 bits are what a float32 in [0, 1) holds exactly.
    unit = (bits >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2.0**-24)
    return (unit * jnp.float32(2.0) - jnp.float32(1.0)) * jnp.float32(bound)
