"""Compares a QAT step with the float step of the same folded graph, paired in one run.

Run: `python benchmarks/qat_step.py [--batch 64] [--rounds 20]`.  Both steps compute the loss and the
gradients of all weights of `attonet_d` (small images); `learned scales` adds those of all scales.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from attokit import quant, zoo


def main() -> None:
    """Prints median milliseconds and the median of paired ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    images = rng.random((args.batch, 28, 28, 1), np.float32)
    labels = jax.nn.one_hot(rng.integers(0, 10, args.batch), 10)
    model = zoo.create("attonet_d", num_classes=10, small_images=True)
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    graph, weights = quant.trace(model.apply, variables, images[:1])
    qparams = quant.calibrate(graph, weights, [images])

    def loss(logits: jax.Array) -> jax.Array:
        return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1))

    def of_weights(network):
        return lambda w, q: jax.value_and_grad(lambda w: loss(network(w, q, images)))(w)

    steps = {"float": of_weights(lambda w, q, x: graph(w, x))}
    for kernels in quant.KERNELS:
        steps[kernels] = of_weights(quant.fake_quant(graph, kernels))
    learned = quant.fake_quant(graph)
    steps["learned scales"] = lambda w, q: jax.value_and_grad(
        lambda both: loss(learned(*both, images))
    )((w, q))

    compiled, seconds = {}, {name: [] for name in steps}
    for name, step in steps.items():
        start = time.perf_counter()
        compiled[name] = jax.jit(step).lower(weights, qparams).compile()
        print(f"{name}: compiled in {time.perf_counter() - start:.1f} s")
        jax.block_until_ready(compiled[name](weights, qparams))
    for _ in range(args.rounds):
        for name, step in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(step(weights, qparams))
            seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        ratios = [t / f for t, f in zip(times, seconds["float"], strict=True)]
        print(
            f"{name:15} {1e3 * statistics.median(times):8.1f} ms   "
            f"x{statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
