"""Our INT8 files against those of TensorFlow's converter, of the same networks and weights.

    python benchmarks/tensorflow_converter.py [--networks mobilenet_v2_035] [--rounds 100]

A network is traced, and its graph written twice: by `export.to_tflite`, and as a TensorFlow function by
`tf.lite.TFLiteConverter` (`tensorflow_route.py`), which calibrates with the same images.  Both functions give
the same floats, which is checked.  Printed as a table, ours / TensorFlow's: bytes of the file, operators,
the time in LiteRT as it comes (one thread, in turns; the median of the rounds' ratios and their middle half),
and TFLite Micro's arena; and how far each file's outputs are from the float ones, as a ratio of signal to noise.
"""

import argparse
import dataclasses
import importlib.metadata
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_route

from attokit import export, quant, zoo
from attokit.arena import arena_bytes

NETWORKS = (
    "attonet_d",
    "mobilenet_v1_025",
    "mobilenet_v2_035",
    "mobilenet_v3_small",
    "unet",
    "attendseg_lite",
)
_BATCHES = 8  # of one image, to calibrate
_CLOSE = 1e-4  # of the largest output: both frameworks sum floats in orders of their own
_PACKAGES = ("tensorflow-cpu", "tensorflow", "ai-edge-litert", "tflite-micro", "jax")


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two files of one network.

    Attributes:
      ours: For LiteRT.
      ours_micro: For TFLite Micro.
      theirs: TensorFlow's, the same for both.
      images: New to both.
      wanted: What the float network makes of them.
    """

    ours: bytes
    ours_micro: bytes
    theirs: bytes
    images: np.ndarray
    wanted: np.ndarray


def main() -> None:
    """Prints one line per network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--image-size", nargs=3, type=int, help="height, width, channels")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--keep", type=pathlib.Path, help="a folder that the files go to")
    options = parser.parse_args()
    if not tensorflow_route.installed():
        raise SystemExit(f"TensorFlow is needed: {tensorflow_route.TO_INSTALL}")
    print(", ".join(_versions()))
    print(
        "| network | bytes | operators | time | LiteRT, ours / theirs | arena | signal to noise |"
    )
    print("| --- " * 7 + "|")
    for name in options.networks:
        pair = _pair(name, tuple(options.image_size or zoo.info(name).image_size))
        if options.keep:
            _keep(pair, options.keep / name)
        print(f"| `{name}` | {_row(pair, options.rounds)} |", flush=True)


def _versions() -> list[str]:
    present = {d.metadata["Name"].replace("_", "-") for d in importlib.metadata.distributions()}
    return [f"{n} {importlib.metadata.version(n)}" for n in _PACKAGES if n in present]


def _pair(name: str, size: tuple[int, ...]) -> Pair:
    model = zoo.create(name, image_size=size)
    images = np.random.default_rng(0).random((2 * _BATCHES, *size), np.float32)
    variables = _stirred(jax.jit(model.init)(jax.random.key(0), images[:1]))
    graph, weights = quant.trace(model.apply, variables, images[:1])
    batches = [images[i : i + 1] for i in range(_BATCHES)]
    network = tensorflow_route.function(graph, weights)
    fresh = images[_BATCHES:]
    wanted = np.concatenate([graph(weights, fresh[i : i + 1]) for i in range(len(fresh))])
    theirs = np.concatenate([network(fresh[i : i + 1]) for i in range(len(fresh))])
    np.testing.assert_allclose(theirs, wanted, rtol=0, atol=_CLOSE * np.abs(wanted).max())
    qparams = quant.calibrate(graph, weights, batches)
    return Pair(
        ours=export.to_tflite(graph, weights, qparams),
        ours_micro=export.to_tflite(graph, weights, qparams, target="micro"),
        theirs=tensorflow_route.to_tflite(network, batches),
        images=fresh,
        wanted=wanted,
    )


def _stirred(variables: Any) -> Any:
    """Returns variables that are all in use: gammas that start with zero would hide their branches."""
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    stirred = [
        leaf if leaf.ndim > 1 else jnp.abs(leaf + 0.1 * jax.random.normal(key, leaf.shape))
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, stirred)


def _row(pair: Pair, rounds: int) -> str:
    infos = [export.inspect(file) for file in (pair.ours, pair.theirs)]
    timed = export.benchmark(pair.ours, pair.theirs, rounds=rounds)
    ratio = timed.ratio
    assert ratio is not None
    cells = (
        _fraction(len(pair.ours), len(pair.theirs)),
        _fraction(*(len(info.main.operators) for info in infos)),
        " / ".join(f"{1e3 * seconds.median:.2f}" for seconds in timed.seconds) + " ms",
        f"{ratio.median:.3f} ({ratio.lower:.3f} to {ratio.upper:.3f})",
        _fraction(*map(_arena, (pair.ours_micro, pair.theirs))),
        " / ".join(f"{_signal_to_noise(f, pair):.1f}" for f in (pair.ours, pair.theirs)) + " dB",
    )
    return " | ".join(cells)


def _fraction(ours: int | None, theirs: int | None) -> str:
    return " / ".join("not taken" if n is None else f"{n:,}" for n in (ours, theirs))


def _arena(file: bytes) -> int | None:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file.tflite"
        path.write_bytes(file)
        return arena_bytes(path)


def _signal_to_noise(file: bytes, pair: Pair) -> float:
    runner = export.Runner(file)
    outputs = next(iter(runner(pair.images, dequantize=True).values()))
    noise = np.square(outputs - pair.wanted).mean()
    return float(10 * np.log10(np.square(pair.wanted).mean() / noise))


def _keep(pair: Pair, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ours", "ours_micro", "theirs"):
        (folder / f"{name}.tflite").write_bytes(getattr(pair, name))


if __name__ == "__main__":
    main()
