"""Networks with what the Edge TPU's compiler does not take, as files before and after a pass."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attokit import export, quant
from attokit.export import flatbuffer, tflite
from attokit.zoo.convolution import conv


@dataclasses.dataclass(frozen=True)
class Network:
    graph: quant.Graph
    weights: dict[str, Any]
    qparams: dict[str, quant.QuantParams]
    images: np.ndarray


def weights_of(seed=0, **shapes):
    random = np.random.default_rng(seed)
    return {n: jnp.asarray(random.normal(size=s), jnp.float32) for n, s in shapes.items()}


def convolved(x, kernel, *, strides=(1, 1), padding="SAME", groups=1):
    return conv(x, kernel, strides=strides, padding=padding, dilation=(1, 1), groups=groups)


def network(function: Callable, variables: Any, *shape: int, batch: int = 1) -> Network:
    """Returns a function traced and calibrated on images of a shape."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (batch, *shape)).astype(np.float32) / np.float32(255)
    graph, weights = quant.trace(function, variables, images[:1])
    return Network(graph, weights, quant.calibrate(graph, weights, [images]), images)


def shuffled(x, groups):
    b, h, w, c = x.shape
    return x.reshape(b, h, w, groups, c // groups).swapaxes(3, 4).reshape(b, h, w, c)


def written(net: Network, change: Callable, monkeypatch, *, quantized=True) -> tuple[bytes, bytes]:
    """Returns the file as it is, and as one pass leaves it."""
    qparams = net.qparams if quantized else None
    plain = export.to_tflite(net.graph, net.weights, qparams)
    monkeypatch.setattr(tflite, "fit_coral", change)
    return plain, export.to_tflite(net.graph, net.weights, qparams, target="coral")


def assert_equal_outputs(plain: bytes, changed: bytes, images: np.ndarray) -> None:
    """Fails unless both files give the same integers, in LiteRT with either kernels and in TFLite Micro."""
    for kernels in ("reference", "xnnpack", "micro"):
        wanted = export.run(plain, images, kernels=kernels)
        found = export.run(changed, images, kernels=kernels)
        assert wanted.keys() == found.keys()
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=f"{kernels} {name}")


def kinds(file: bytes) -> dict[str, int]:
    return export.inspect(file).histogram


__all__ = [
    "Network", "assert_equal_outputs", "convolved", "flatbuffer", "jax", "kinds", "network",
    "shuffled", "weights_of", "written",
]  # fmt: skip
