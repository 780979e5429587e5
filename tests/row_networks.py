"""A small network whose maps can be computed some rows at a time, in INT8, and its files' outputs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from traced import normal

from attokit import export, quant
from attokit.zoo.convolution import conv


@dataclasses.dataclass(frozen=True)
class Network:
    """A graph with its numbers, and images.

    Attributes:
      graph: Of which.
      weights: Random.
      qparams: Calibrated on the images.
      images: Multiples of 1 / 255, batch of 1.
    """

    graph: quant.Graph
    weights: dict[str, Any]
    qparams: dict[str, quant.QuantParams]
    images: np.ndarray

    def outputs(self, graph: quant.Graph | None = None, kernels: Any = "micro") -> np.ndarray:
        """Returns what the file of a graph with the same weights returns."""
        file = export.to_tflite(graph or self.graph, self.weights, self.qparams, target="micro")
        (values,) = export.run(file, self.images, kernels=kernels).values()
        return values


def calibrated(function: Any, variables: Any, shape: tuple[int, ...]) -> Network:
    """Returns a function as a network, for images of a shape [1, h, w, c]."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, shape).astype(np.float32) / np.float32(255)
    graph, weights = quant.trace(function, variables, images)
    return Network(graph, weights, quant.calibrate(graph, weights, [images]), images)


def _body(v: Any, x: jax.Array) -> jax.Array:
    def layer(name: str, y: jax.Array, **options: Any) -> jax.Array:
        given = {"strides": (1, 1), "padding": "SAME", "dilation": (1, 1), "groups": 1} | options
        return conv(y, v[name], **given)

    y = jax.nn.relu6(layer("stem", x, strides=(2, 2)) + v["bias"].reshape(1, 1, 1, -1))
    z = jax.nn.relu6(layer("expand", y))
    z = jax.nn.relu6(layer("deep", z, groups=12))
    y = y + layer("project", z)
    y = layer("dilated", y, padding=((0, 0), (2, 2)), dilation=(1, 2), groups=6)
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    y = y[:, 1:, ::2] * jax.nn.sigmoid(y[:, :-1, ::2])
    return jnp.mean(y, (1, 2)) @ v["head"]


def convolutions(size: tuple[int, int] = (26, 18)) -> Network:
    """Returns strided, depthwise, residual, dilated convolutions, a pool, slices of rows, a dense layer."""
    shapes = {
        "stem": (3, 3, 2, 6), "bias": (6,), "expand": (1, 1, 6, 12), "deep": (3, 3, 1, 12),
        "project": (1, 1, 12, 6), "dilated": (3, 3, 1, 6), "head": (6, 5),
    }  # fmt: skip
    return calibrated(_body, {n: normal(*s) for n, s in shapes.items()}, (1, *size, 2))


def _branches(v: Any, x: jax.Array) -> jax.Array:
    wide = [jnp.tanh(x @ v[f"wide_{i}"]) for i in range(3)]
    return jnp.concatenate([jnp.mean(y, (1, 2)) for y in wide], axis=1)


def branching() -> Network:
    """Returns a network that makes all its wide maps before any is reduced: only its order costs memory."""
    kernels = {f"wide_{i}": normal(3, 16, seed=i) for i in range(3)}
    return calibrated(_branches, kernels, (1, 8, 8, 3))
