"""Compares a training step of an AttoNet with the same network made of plain Flax layers.

    python benchmarks/attonet_step.py [--model attonet_d] [--batch 32] [--rounds 5]

28x28 images, three networks in turn in one process: ours, the same with `flax.linen.Conv`, the same with
`flax.linen.Conv` and `flax.linen.BatchNorm`. A ratio is the median over rounds. The batch is spread over one
device per core, as the training loop does; `--one-device` leaves the threads to XLA.
"""

import argparse
import statistics
import time
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

from attokit import train, zoo
from attokit.train.mesh import batch_sharding, replicated
from attokit.zoo import conv_norm


class PlainConv(nn.Module):
    """`flax.linen.Conv` behind the attributes of `zoo.Conv`."""

    features: int
    kernel_size: int
    strides: int
    padding: str
    dilation: int
    groups: int

    @nn.compact
    def __call__(self, x):
        """Returns the convolved images."""
        return nn.Conv(
            self.features,
            (self.kernel_size,) * 2,
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.dilation,
            feature_group_count=self.groups,
            use_bias=False,
        )(x)


def compiled_step(model, images, mesh):
    """Returns a compiled step of gradient descent and its variables."""
    variables = jax.device_put(jax.jit(model.init)(jax.random.key(0), images), replicated(mesh))

    def step(variables, images):
        def loss(params):
            logits, update = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return -jnp.mean(jax.nn.log_softmax(logits)[:, 0]), update

        slopes, update = jax.grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, slope: p - 0.01 * slope, variables["params"], slopes)
        return {"params": params, **update}

    start = time.perf_counter()
    step = jax.jit(step).lower(variables, images).compile()
    print(f"  compiled in {time.perf_counter() - start:.1f} s", flush=True)
    jax.block_until_ready(step(variables, images))
    return step, variables


def seconds(step, variables, images):
    start = time.perf_counter()
    jax.block_until_ready(step(variables, images))
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="attonet_d", choices=zoo.names("attonet*"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one-device", action="store_true")
    options = parser.parse_args()
    if not options.one_device:
        train.use_cpu_cores()
    mesh = train.make_mesh()
    model = zoo.create(options.model, small_images=True, num_classes=10)
    images = jax.random.uniform(jax.random.key(0), (options.batch, 28, 28, 1))
    images = jax.device_put(images, batch_sharding(mesh))
    steps = {"attokit.zoo": compiled_step(model, images, mesh)}
    with mock.patch.object(conv_norm, "Conv", PlainConv):
        steps["flax Conv"] = compiled_step(model, images, mesh)
        with mock.patch.object(conv_norm, "BatchNorm", nn.BatchNorm):
            steps["flax Conv, BatchNorm"] = compiled_step(model, images, mesh)
    rounds = [
        {name: seconds(*step, images) for name, step in steps.items()}
        for _ in range(options.rounds)
    ]
    for name in steps:
        median = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times[name] / times["attokit.zoo"] for times in rounds)
        print(
            f"{name:22}{1e3 * median:8.0f} ms/step{options.batch / median:8.0f} images/s{ratio:8.2f}"
        )


if __name__ == "__main__":
    main()
