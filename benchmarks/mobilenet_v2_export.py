"""Times `mobilenet_v2` 1.0 (1000 classes, 224x224) from trace to bytes, INT8 in and out.

Run: `python benchmarks/mobilenet_v2_export.py`
"""

import time

import jax
import jax.numpy as jnp

from attokit import export, quant, zoo


def main() -> None:
    """Prints seconds of tracing and of writing, and the size of the file."""
    model = zoo.create("mobilenet_v2")
    images = jnp.full((1, 224, 224, 3), 0.5)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    jax.block_until_ready(variables)
    for attempt in ("cold", "warm"):
        start = time.perf_counter()
        graph, weights = quant.trace(model.apply, variables, images)
        traced = time.perf_counter()
        if attempt == "cold":
            qparams = quant.calibrate(graph, weights, [images])
        calibrated = time.perf_counter()
        data = export.to_tflite(graph, weights, qparams)
        written = time.perf_counter() - calibrated
        print(
            f"{attempt}: trace {traced - start:.2f} s + write {written:.2f} s "
            f"= {traced - start + written:.2f} s, {len(data):,} bytes"
        )


if __name__ == "__main__":
    main()
