"""Measures how far a trained QAT network and its INT8 file agree, in Attokit and in qwix.

    python benchmarks/qat_fidelity.py [--steps 800] [--qat-steps 200] [--seed 0] [--networks cnn]

Two small networks learn the embedded subset of Fashion-MNIST (6,000 training, 1,000 test images) in
float, then in QAT; printed is the share of test logits that are equal in the QAT forward pass and in
the file.  The same networks, from the same float weights, go through qwix and litert-converter where
both are installed (`qwix_route.py`).
"""

import argparse
import collections
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import qwix_route

from attokit import export, quant, train
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.mobilenet_v3 import MobileNetV3, MobileNetV3Config, Row

_BATCH = 64
_FLOAT_RATE, _QAT_RATE = 3e-3, 3e-4
_BETWEEN_TYPES = {"QUANTIZE", "DEQUANTIZE"}
_LITERT: tuple[quant.Kernels, ...] = ("reference", "xnnpack")
_PACKAGES = ["attokit", "jax", "flax", "ai-edge-litert", "tflite-micro", "qwix", "litert-converter"]


class ResidualCNN(nn.Module):
    """Three convolutions with batch norm, a residual sum, an average and a dense layer."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns the logits [b, 10] of images [b, h, w, c] in [0, 1]."""
        x = ConvNorm(16, 3, strides=2, name="first")(images, train=train)
        x = ConvNorm(32, 3, strides=2, name="second")(x, train=train)
        x = x + ConvNorm(32, 3, name="third")(x, train=train)
        return nn.Dense(10, name="head")(jnp.mean(x, axis=(1, 2)))


def gated_network() -> MobileNetV3:
    """Returns a narrow MobileNetV3: hard swish, squeeze-and-excite with a hard sigmoid."""
    rows = (
        Row(3, 16, 16, True, "relu", 1),
        Row(3, 48, 24, False, "relu", 2),
        Row(5, 64, 24, True, "hard_swish", 1),
        Row(5, 96, 32, True, "hard_swish", 2),
    )
    return MobileNetV3(MobileNetV3Config(rows=rows, last=96, hidden=64, num_classes=10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "cnn": ResidualCNN,
    "mobilenet_v3_blocks": gated_network,
}


@dataclasses.dataclass(frozen=True)
class Data:
    """Images as reals in [0, 1] and labels, of both splits."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def batches(self, steps: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields random batches of the training split."""
        rng = np.random.default_rng(seed)
        for _ in range(steps):
            rows = rng.integers(0, len(self.train_images), _BATCH)
            yield self.train_images[rows], self.train_labels[rows]

    def accuracy(self, logits: np.ndarray) -> float:
        """Returns the share of test images whose largest logit is the label's."""
        return float(np.mean(np.argmax(logits, axis=-1) == self.test_labels))


def load() -> Data:
    """Returns the embedded subset of Fashion-MNIST."""
    splits = []
    for split in ("train", "test"):
        source = train.load_fashion_mnist_subset().split(split)
        batch = source.read(np.arange(len(source)))
        splits += [batch["images"].astype(np.float32) / np.float32(255), batch["labels"]]
    return Data(*splits)


def optimize(
    params: Any,
    state: Any,
    forward: Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]],
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    steps: int,
    rate: float,
) -> tuple[Any, Any]:
    """Returns (params, state) after Adam with a cosine schedule on the cross-entropy.

    Args:
      params: What learns.
      state: What the forward pass updates (statistics); {} for none.
      forward: Returns (logits, state) of (params, state, images).
      batches: As many as steps.
      steps: Of the schedule.
      rate: At the start.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    @jax.jit
    def step(params, state, moments, images, labels):
        def loss(params):
            logits, new = forward(params, state, images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), new

        slopes, state = jax.grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(slopes, moments, params)
        return optax.apply_updates(params, updates), state, moments

    moments = optimizer.init(params)
    for images, labels in batches:
        params, state, moments = step(params, state, moments, images, labels)
    return params, state


def train_float(model: nn.Module, data: Data, steps: int, seed: int) -> dict[str, Any]:
    """Returns the trained variables {"params", "batch_stats"}."""
    variables = jax.jit(model.init)(jax.random.key(seed), data.train_images[:1])

    def forward(params, stats, images):
        logits, new = model.apply(
            {"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
        )
        return logits, new["batch_stats"]

    params, stats = optimize(
        variables["params"],
        variables["batch_stats"],
        forward,
        data.batches(steps, seed),
        steps,
        _FLOAT_RATE,
    )
    return {"params": params, "batch_stats": stats}


def attokit_route(
    model: nn.Module, variables: dict[str, Any], data: Data, steps: int, seed: int
) -> None:
    """Trains through `quant.fake_quant`, exports, and prints what came of it."""
    graph, weights = quant.trace(model.apply, variables, data.train_images[:1])
    qparams = quant.calibrate(graph, weights, [data.train_images[:512]])
    network = quant.fake_quant(graph)
    weights, _ = optimize(
        weights,
        {},
        lambda weights, state, images: (network(weights, qparams, images), state),
        data.batches(steps, seed + 1),
        steps,
        _QAT_RATE,
    )
    file = export.to_tflite(graph, weights, qparams)
    describe("attokit", file)
    micro: tuple[quant.Kernels, ...] = (
        ("micro",) if importlib.util.find_spec("tflite_micro") else ()
    )
    for kernels in _LITERT + micro:
        logits = quant.fake_quant(graph, kernels)(weights, qparams, data.test_images)
        compare(f"attokit, QAT forward ({kernels})", logits, file, kernels, data)


def other_route(
    model: nn.Module, variables: dict[str, Any], data: Data, steps: int, seed: int
) -> None:
    """Trains, converts and prints the same through qwix; batch statistics stay as trained."""
    stats = variables["batch_stats"]
    network = qwix_route.qat_model(model)

    def forward(params, ranges, images):
        logits, new = network.apply(
            {"params": params, "batch_stats": stats, "quant_stats": ranges},
            images,
            mutable=["quant_stats"],
        )
        return logits, new["quant_stats"]

    with qwix_route.plain_convolutions():
        fresh = jax.jit(network.init)(jax.random.key(seed), data.train_images[:1])
        params, ranges = optimize(
            variables["params"],
            fresh["quant_stats"],
            forward,
            data.batches(steps, seed + 1),
            steps,
            _QAT_RATE,
        )
        trained = {"params": params, "batch_stats": stats, "quant_stats": ranges}
        logits = jax.jit(network.apply)(trained, data.test_images)
        file = qwix_route.to_tflite(model, trained, data.train_images[:1])
    describe("qwix", file)
    for kernels in _LITERT:
        compare("qwix, QAT forward", logits, file, kernels, data)


def describe(route: str, file: bytes) -> None:
    """Prints how many operators of a file compute in float, and which."""
    info = export.inspect(file)
    main = info.main
    inner = collections.Counter(
        operator.kind
        for operator in main.operators
        if main.is_float(operator) and operator.kind not in _BETWEEN_TYPES
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in inner.most_common()) or "none"
    print(
        f"  {route}: {info.size:,} bytes, {len(main.operators)} operators; computing in float: {kinds}"
    )


def compare(label: str, logits: jax.Array, file: bytes, kernels: quant.Kernels, data: Data) -> None:
    """Prints the share of equal logits, in units of the file's output scale, and the accuracy.

    Args:
      label: Whose logits.
      logits: Reals [n, k], on the grid of the file's output.
      file: Run on the test images.
      kernels: Whose runtime runs it.
      data: The test images and their labels.
    """
    wanted = np.asarray(logits)
    (found,) = export.run(file, data.test_images, kernels=kernels, dequantize=True).values()
    scale = output_scale(file)
    differences = np.abs(np.rint(wanted / scale) - np.rint(found / scale)).astype(np.int64)
    print(
        f"  {label} / file in {kernels} kernels: {np.mean(differences == 0):.2%} of "
        f"{differences.size:,} logits equal, at most {differences.max()} LSB apart; "
        f"accuracy {data.accuracy(wanted):.1%} / {data.accuracy(found):.1%}",
        flush=True,
    )


def output_scale(file: bytes) -> float:
    """Returns the scale of the integers behind the only output of a file.

    Raises:
      ValueError: if there are none.
    """
    main = export.inspect(file).main
    (output,) = main.outputs
    last = next(operator for operator in main.operators if output in operator.outputs)
    index = last.inputs[0] if last.kind == "DEQUANTIZE" else output
    if not main.tensors[index].scale.size:
        raise ValueError(
            f"the output comes from {last.kind} in float: there is no unit to compare in"
        )
    return float(main.tensors[index].scale[0])


def versions() -> str:
    """Returns the installed versions of all that takes part."""
    parts = []
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            parts.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(parts)


def main() -> None:
    """Trains and measures the networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--qat-steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    options = parser.parse_args()
    data = load()
    print(versions())
    for name in options.networks:
        model = NETWORKS[name]()
        variables = train_float(model, data, options.steps, options.seed)
        logits = jax.jit(model.apply)(variables, data.test_images)
        print(f"{name}: float accuracy {data.accuracy(logits):.1%}", flush=True)
        attokit_route(model, variables, data, options.qat_steps, options.seed)
        if qwix_route.installed():
            other_route(model, variables, data, options.qat_steps, options.seed)
        else:
            print(f"  not measured: qwix and litert-converter ({qwix_route.TO_INSTALL})")


if __name__ == "__main__":
    main()
