"""Images per second that the input pipeline gives, against what a training step takes.

    python benchmarks/input_pipeline.py [--size 128] [--batch 32] [--batches 30] [--workers 0 2]

A folder of JPEG files is written, read, fitted and augmented as training does it, by threads of this process or
by worker processes; then a step of a network is timed alone. An input pipeline keeps up if its rate is above the
step's.
"""

import argparse
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from attokit import train, zoo
from attokit.train.mesh import put_batch
from attokit.train.state import place_state
from attokit.train.step import compile_train_step

_AUGMENT = train.AugmentConfig(scale=(0.8, 1.25), flip=True, brightness=0.2, contrast=0.2)


def write_images(folder, count, size):
    """Writes photographs of noise, a quarter larger than they are read."""
    rng, side = np.random.default_rng(0), size * 5 // 4
    for index in range(count):
        path = folder / ("train" if index % 8 else "test") / f"class{index % 4}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(
            path, quality=90
        )


def reading_rate(source, batch_size, count, workers):
    batches = train.TrainBatches(
        source, batch_size=batch_size, steps=count + 2, seed=0, augment=_AUGMENT
    )
    iterator = train.iterate(batches, workers=workers)
    next(iterator)  # starts what reads
    start = time.perf_counter()
    for _ in range(count):
        next(iterator)
    return count * batch_size / (time.perf_counter() - start)


def step_rate(name, dataset, batch_size, count):
    model = zoo.create(name, num_classes=dataset.num_classes)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *dataset.image_shape)))
    optimizer, mesh = train.make_optimizer("sgd", 0.01), train.make_mesh()
    state, shardings = place_state(*train.split_variables(variables), optimizer, mesh, seed=0)
    pure = train.make_train_step(train.flax_forward(model), train.classification_task(), optimizer)
    step = compile_train_step(pure, mesh, shardings)
    indices = np.arange(batch_size) % len(dataset.split("train"))
    batch = put_batch(dataset.split("train").read(indices), mesh)
    state, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    start = time.perf_counter()
    for _ in range(count):
        state, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    return count * batch_size / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="attonet_d", choices=zoo.names(task="classification"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    options = parser.parse_args()
    train.use_cpu_cores()
    with tempfile.TemporaryDirectory() as folder:
        write_images(pathlib.Path(folder), 256, options.size)
        dataset = train.load_image_folder(folder, (options.size, options.size, 3))
        for workers in options.workers:
            rate = reading_rate(dataset.split("train"), options.batch, options.batches, workers)
            where = f"{workers} workers" if workers else "threads"
            print(f"reading by {where:12}{rate:10.0f} images/s", flush=True)
        rate = step_rate(options.model, dataset, options.batch, 3)
        print(f"step of {options.model:15}{rate:10.0f} images/s")


if __name__ == "__main__":
    main()
