"""How the time from trace to bytes grows with the number of ops.

Run: `python benchmarks/trace_time.py [--blocks 20 75 250 750]`.  A block is a 1x1 convolution, a hard
swish, a mish, and an addition: four ops of a graph, about 20 equations of a jaxpr.  Each length runs
in a process of its own, so imports and JAX's start are not counted but every cache is cold.  Seconds of
a core leave out what other processes take.
"""

import argparse
import subprocess
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from attokit import export, quant

_CHANNELS = 8


def _network(variables: list[jax.Array], x: jax.Array) -> jax.Array:
    for kernel in variables:
        y = x + nn.hard_swish(x @ kernel)
        x = y + jax.nn.mish(y)
    return x


def _measure(blocks: int) -> None:
    """Prints the seconds of one length: trace, write, and both."""
    rng = np.random.default_rng(0)
    kernels = [
        jnp.asarray(rng.normal(0, 0.1, (_CHANNELS, _CHANNELS)), jnp.float32) for _ in range(blocks)
    ]
    x = jnp.zeros((1, 4, 4, _CHANNELS))
    start, before = time.perf_counter(), time.process_time()
    graph, weights = quant.trace(_network, kernels, x)
    traced, busy = time.perf_counter(), time.process_time()
    names = {t.range_name for t in graph.tensors.values()} | set(weights)
    qparams = {
        name: quant.QuantParams(jnp.float32(0.05), jnp.float32(0))
        for name in names - set(graph.fixed_ranges)
    }
    ready, paused = time.perf_counter(), time.process_time()
    data = export.to_tflite(graph, weights, qparams)
    written, cpu = time.perf_counter() - ready, time.process_time() - paused
    seconds, cpu = traced - start + written, cpu + busy - before
    print(
        f"{len(graph.ops):5} ops: trace {traced - start:6.2f} s + write {written:6.2f} s = "
        f"{seconds:6.2f} s; of a core {cpu:5.2f} s, {1e3 * cpu / len(graph.ops):5.2f} ms per op; "
        f"{len(data):,} bytes"
    )


def main() -> None:
    """Prints one line per length."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, nargs="+", default=[20, 60, 250, 600])
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone is not None:
        _measure(args.alone)
        return
    for blocks in args.blocks:
        subprocess.run([sys.executable, __file__, "--alone", str(blocks)], check=True)


if __name__ == "__main__":
    main()
