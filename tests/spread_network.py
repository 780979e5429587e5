"""A small network with one bad layer: its channels differ 300-fold, and the next layer makes them alike.

One scale for all of them leaves the quiet ones a step or two of int8.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attokit import quant
from attokit.zoo.convolution import conv

_SHAPES = {"loud": (1, 1, 3, 6), "even": (3, 3, 1, 6), "head": (6, 5)}


def _network(v: Any, x: jax.Array) -> jax.Array:
    y = conv(x, v["loud"]["kernel"])
    y = jax.nn.relu(conv(y, v["even"]["kernel"], groups=6))
    return jnp.mean(y, (1, 2)) @ v["head"]["kernel"]


@functools.cache
def spread() -> tuple[quant.Graph, dict[str, Any], dict[str, quant.QuantParams], np.ndarray]:
    """Returns graph, weights, qparams and the images that they are calibrated on, [8, 8, 8, 3]."""
    random = np.random.default_rng(0)
    gains = np.where(np.arange(6) == 0, 1, 1 / 300).astype(np.float32)
    kernels = {
        name: (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
        for name, shape in _SHAPES.items()
    }
    kernels["loud"] *= gains
    kernels["even"] /= gains
    variables = {name: {"kernel": jnp.asarray(kernel)} for name, kernel in kernels.items()}
    images = random.integers(0, 256, (8, 8, 8, 3)).astype(np.float32) / np.float32(255)
    graph, weights = quant.trace(_network, variables, images[:1])
    return graph, weights, quant.calibrate(graph, weights, [images]), images


@functools.cache
def swept(raise_to: Any = "int16") -> quant.Sensitivity:
    """Returns that network, swept; its metric counts examples."""
    graph, weights, qparams, images = spread()

    def count(batches: Any) -> float:
        return float(sum(map(len, batches)))

    return quant.sensitivity(graph, weights, qparams, [images], raise_to=raise_to, metric=count)
