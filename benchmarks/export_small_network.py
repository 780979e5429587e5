"""Exports a 15-convolution 96x96 network INT8 with 32 calibration images, imports included.

Run it as a whole process, where the operating system counts time and memory:

    /usr/bin/time -v python benchmarks/export_small_network.py

The yardstick is the jax2tf + TensorFlow converter path, 11.2 s and 983 MiB for such a network.
"""

# ruff: noqa: E402  the clock starts before the imports, which are part of what is measured

import time

START = time.perf_counter()

import flax.linen as nn
import jax
import numpy as np

from attokit import export, quant

WIDTHS = (16, 16, 24, 24, 32, 32, 32, 48, 48, 48, 64, 64, 64, 96, 96)


class Network(nn.Module):
    """Fifteen convolutions with batch norm and relu, stride 2 where the width grows."""

    @nn.compact
    def __call__(self, x):
        """Returns logits."""
        previous = 0
        for width in WIDTHS:
            stride = 2 if width > previous else 1
            x = nn.Conv(width, (3, 3), strides=stride, use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            previous = width
        return nn.Dense(10)(x.mean((1, 2)))


def main() -> None:
    """Prints seconds since the interpreter ran this file, step by step."""

    def lap(step: str) -> None:
        print(f"{time.perf_counter() - START:6.2f} s  {step}")

    lap("imports")
    rng = np.random.default_rng(0)
    images = rng.random((32, 96, 96, 3), np.float32)
    shapes = jax.eval_shape(Network().init, jax.random.key(0), images[:1])
    # As if loaded from a file; statistics of batch norms must be positive.
    variables = jax.tree.map(lambda s: 0.1 * np.abs(rng.normal(size=s.shape)) + 0.01, shapes)
    variables = jax.tree.map(np.float32, variables)
    lap("weights at hand")
    graph, weights = quant.trace(Network().apply, variables, images[:1])
    lap("traced")
    qparams = quant.calibrate(graph, weights, [images])
    lap("calibrated")
    data = export.to_tflite(graph, weights, qparams)
    lap(f"exported, {len(data):,} bytes")


if __name__ == "__main__":
    main()
