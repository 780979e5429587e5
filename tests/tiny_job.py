"""A small training as a process of its own, for tests that kill it, stop it or run it on several hosts.

    python tests/tiny_job.py RUN_DIR [--devices 8] [--mesh data=4,fsdp=2] [--steps 40] [--resume] ...

Prints a line when the first batch is read; writes `state.npz` at the end, all that the run ends with.
"""

import argparse
import os
import pathlib
import sys
import time

_HERE = pathlib.Path(__file__).resolve().parent


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=pathlib.Path)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--mesh", default=None)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--checkpoint-every", type=int, default=4)
    parser.add_argument("--largest-file", type=int, default=None)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


class Slow:
    """A source that says when it is read first, and takes its time."""

    def __init__(self, source, pause):
        self._source, self._pause, self._said = source, pause, False

    def __len__(self):
        return len(self._source)

    def read(self, indices):
        if not self._said:
            self._said = True
            print("reading", flush=True)
        time.sleep(self._pause)
        return self._source.read(indices)


def main():
    options = parse()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={options.devices}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    if options.largest_file is not None:
        import resource
        import signal

        # What a full disk does to a process, without a full disk: writes fail.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = (options.largest_file, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    from attokit.train.hosts import join_hosts

    join_hosts()
    import flax.linen as nn
    import jax
    import numpy as np

    from attokit.train import (
        ArraySource,
        AugmentConfig,
        Dataset,
        Preempted,
        TrainConfig,
        fit,
        flax_forward,
        split_variables,
    )
    from attokit.train.mesh import named_mesh, replicate
    from attokit.zoo.conv_norm import ConvNorm

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            x = ConvNorm(32, 3, strides=2)(x, train=train)
            x = nn.Dropout(0.1, deterministic=not train)(x.reshape(x.shape[0], -1))
            return nn.Dense(4)(x)

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 150).astype(np.int32)
    images = rng.integers(0, 40, (150, 8, 8, 1)) + 50 * labels[:, None, None, None]
    source = ArraySource(images=images.astype(np.uint8), labels=labels)
    splits = {"train": Slow(source, options.pause), "test": source}
    dataset = Dataset(name="tiny", class_names=tuple("abcd"), image_shape=(8, 8, 1), splits=splits)
    config = TrainConfig(
        steps=options.steps,
        batch_size=16,
        learning_rate=0.05,
        ema_decay=0.9,
        augment=AugmentConfig(flip=True, crop_padding=1, mixup=0.2),
        log_every=1,
        eval_every=10**6,
        checkpoint_every=options.checkpoint_every,
        mesh=options.mesh,
        workers=options.workers,
    )
    model = Network()
    variables = jax.jit(model.init)(jax.random.key(0), images[:1].astype(np.float32))
    network = (flax_forward(model), *split_variables(variables))
    try:
        result = fit(config, *network, dataset, options.run_dir, resume=options.resume)
    except Preempted as stop:
        return stop.exit_code
    state = replicate(result.state, named_mesh(options.mesh))
    if jax.process_index() == 0:
        leaves = jax.tree_util.tree_leaves_with_path(state)
        arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        np.savez(options.run_dir / "state.npz", **arrays)
    return 0


if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if pathlib.Path(path or ".").resolve() != _HERE]
    sys.exit(main())
