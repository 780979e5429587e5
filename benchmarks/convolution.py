"""Compares `attokit.zoo.conv` with XLA's own convolution, forward and with both gradients.

    python benchmarks/convolution.py

Both run alternately in one process; a ratio is the median over rounds of native time / our time.
"""

import statistics
import time

import jax
import jax.numpy as jnp
from jax import lax

from attokit.zoo import conv

# name: batch, pixels, cin, cout, kernel, groups, stride
CASES = {
    "pointwise 64>32": (32, 28, 64, 32, 1, 1, 1),
    "pointwise 32>64 /2": (32, 28, 32, 64, 1, 1, 2),
    "dense 3x3 16>16": (32, 28, 16, 16, 3, 1, 1),
    "grouped 16, 2 groups": (32, 28, 16, 16, 3, 2, 1),
    "grouped 64, 4 groups": (32, 14, 64, 64, 3, 4, 1),
    "grouped 64, 8 groups /2": (32, 14, 64, 64, 3, 8, 2),
    "depthwise 64": (32, 14, 64, 64, 3, 64, 1),
}
ROUNDS = 5


def native(x, kernel, strides, groups):
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def ours(x, kernel, strides, groups):
    return conv(x, kernel, strides=strides, groups=groups)


def seconds(function, *arguments):
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def paired(first, second, *arguments):
    """Returns the median milliseconds of both and the median of their ratios."""
    for function in (first, second):
        jax.block_until_ready(function(*arguments))
    rounds = [(seconds(first, *arguments), seconds(second, *arguments)) for _ in range(ROUNDS)]
    times = [1e3 * statistics.median(column) for column in zip(*rounds, strict=True)]
    return *times, statistics.median(a / b for a, b in rounds)


def compiled(function, strides, groups, gradient):
    def value(x, kernel):
        return function(x, kernel, strides, groups)

    def loss(x, kernel):
        return jnp.sum(value(x, kernel) ** 2)

    return jax.jit(jax.grad(loss, argnums=(0, 1)) if gradient else value)


def main():
    print(f"{'':24}{'forward: native':>16}{'ours':>8}{'ratio':>8}", end="")
    print(f"{'gradient: native':>20}{'ours':>8}{'ratio':>8}   (milliseconds)")
    for name, (b, size, cin, cout, taps, groups, stride) in CASES.items():
        x = jax.random.normal(jax.random.key(0), (b, size, size, cin))
        kernel = jax.random.normal(jax.random.key(1), (taps, taps, cin // groups, cout))
        line = f"{name:24}"
        for gradient, space in ((False, 16), (True, 20)):
            pair = [compiled(function, stride, groups, gradient) for function in (native, ours)]
            theirs, mine, ratio = paired(*pair, x, kernel)
            line += f"{theirs:{space}.2f}{mine:8.2f}{ratio:8.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
