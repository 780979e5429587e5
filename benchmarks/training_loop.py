"""Throughput of the training loop against a hand-written Flax loop over the same network and images.

    python benchmarks/training_loop.py [--model attonet_d] [--batch 32] [--steps 60] [--rounds 3]

The other loop is the least that trains: a jitted step of softmax cross entropy and the same optimizer, batches
by a shuffled index, no augmentation, metrics, checkpoints or log but the last loss. Ours logs every twenty
steps. Both split the batch over the same devices; rounds alternate, the ratio is that of the medians, and
compilation is left out on both sides.
"""

import argparse
import io
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from attokit import train, zoo
from attokit.train.loop import config_optimizer
from attokit.train.mesh import batch_sharding, replicated


class Minimal:
    """The hand-written loop."""

    def __init__(self, model, variables, config, source, mesh):
        self._source, self._config, self._mesh = source, config, mesh
        optimizer = config_optimizer(config, len(source))
        placed = jax.tree.map(jnp.array, variables)
        state = (placed["params"], placed["batch_stats"], optimizer.init(placed["params"]))
        self._state = jax.device_put(state, replicated(mesh))

        def step(state, images, labels):
            params, statistics_, opt_state = state

            def loss_of(params):
                logits, changed = model.apply(
                    {"params": params, "batch_stats": statistics_},
                    images.astype(jnp.float32) / 255,
                    train=True,
                    mutable=["batch_stats"],
                )
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
                return losses.mean(), changed["batch_stats"]

            (loss, statistics_), slopes = jax.value_and_grad(loss_of, has_aux=True)(params)
            updates, opt_state = optimizer.update(slopes, opt_state, params)
            return (optax.apply_updates(params, updates), statistics_, opt_state), loss

        self._step = jax.jit(step, donate_argnums=0)

    def run(self, steps):
        """Returns images per second over some steps."""
        size, rng = self._config.batch_size, np.random.default_rng(0)
        start = time.perf_counter()
        for _ in range(steps):
            batch = self._source.read(rng.integers(0, len(self._source), size))
            placed = jax.device_put((batch["images"], batch["labels"]), batch_sharding(self._mesh))
            self._state, loss = self._step(self._state, *placed)
        jax.block_until_ready(loss)
        return steps * size / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="attonet_d", choices=zoo.names("attonet*"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    train.use_cpu_cores()
    data, mesh = train.load_fashion_mnist_subset(), train.make_mesh()
    few = train.Dataset(
        name=data.name,
        class_names=data.class_names,
        image_shape=data.image_shape,
        splits={"train": data.split("train"), "test": _first(data.split("test"), options.batch)},
    )
    model = zoo.create(options.model, small_images=True, num_classes=10)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    config = train.TrainConfig(
        steps=options.steps + 20, batch_size=options.batch, optimizer="adamw", learning_rate=1e-3
    )
    minimal = Minimal(model, variables, config, data.split("train"), mesh)
    minimal.run(2)  # compiles
    forward, rates = train.flax_forward(model), {"ours": [], "minimal": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            console = Console(file=io.StringIO())
            result = train.fit(
                config, forward, *train.split_variables(variables), few, folder, console=console
            )
        rates["ours"].append(result.images_per_second)
        rates["minimal"].append(minimal.run(options.steps))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(
            f"{name:8} {medians[name]:8.1f} images/s  ("
            + ", ".join(f"{v:.1f}" for v in values)
            + ")"
        )
    print(f"ratio    {medians['ours'] / medians['minimal']:8.3f}")


def _first(source, count):
    """Returns a split of a few examples, so that evaluation takes no time."""
    return train.ArraySource(**source.read(np.arange(count)))


if __name__ == "__main__":
    main()
