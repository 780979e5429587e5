import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import export, quant
from attokit.zoo.convolution import conv


@dataclasses.dataclass(frozen=True)
class Small:
    """A classifier of five ops, calibrated and written.

    Attributes:
      graph: Convolution, depthwise convolution, addition, mean, dense layer.
      weights: Random.
      qparams: Calibrated on `images`.
      images: [4, 9, 9, 3] in [0, 1], multiples of 1 / 255.
      file: INT8, int8 in and out.
    """

    graph: quant.Graph
    weights: dict[str, Any]
    qparams: dict[str, quant.QuantParams]
    images: np.ndarray
    file: bytes


def _classify(variables, x):
    y = conv(x, variables["stem"], strides=(2, 2), padding="SAME", dilation=(1, 1), groups=1)
    y = jax.nn.relu6(y + variables["bias"].reshape(1, 1, 1, -1))
    z = conv(y, variables["deep"], strides=(1, 1), padding="SAME", dilation=(1, 1), groups=8)
    return jnp.mean(jax.nn.relu(y + z), (1, 2)) @ variables["head"]


@pytest.fixture(scope="session")
def small() -> Small:
    random = np.random.default_rng(0)
    shapes = {"stem": (3, 3, 3, 8), "bias": (8,), "deep": (3, 3, 1, 8), "head": (8, 5)}
    variables = {n: jnp.asarray(random.normal(size=s), jnp.float32) for n, s in shapes.items()}
    images = random.integers(0, 256, (4, 9, 9, 3)).astype(np.float32) / np.float32(255)
    graph, weights = quant.trace(_classify, variables, images[:1])
    qparams = quant.calibrate(graph, weights, [images])
    file = export.to_tflite(graph, weights, qparams)
    return Small(graph, weights, qparams, images, file)
