"""Prints the README's table of models: parameters, MACs, INT8 bytes and peak RAM of the file.

Weights are random: the bytes change with them by a few tenths of a percent, the rest does not.
Run: `python tools/model_table.py`, or with a pattern of names for some of the rows.
"""

import functools
import sys

import jax
import numpy as np

from attokit import export, quant, zoo

OVERRIDES = {
    "attonet": {"num_classes": 50},  # the paper's 50-class subset of ImageNet
}


def row(name: str) -> str:
    """Returns one line of the table."""
    overrides = OVERRIDES.get(name.split("_")[0], {})
    info = zoo.info(name, **overrides)
    model = zoo.create(name, **overrides)
    rng = np.random.default_rng(0)
    images = rng.random((1, *info.image_size), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map_with_path(functools.partial(_random, rng), shapes)
    size = "\N{MULTIPLICATION SIGN}".join(map(str, info.image_size))
    known = f"| `{name}` | {size} | {info.num_classes} | {info.parameters:,} | {info.macs / 1e6:,.1f} M "
    try:
        graph, weights = quant.trace(model.apply, variables, images)
    except quant.UnsupportedOpError:  # detectors in stages have no file of one graph
        return f"{known}| - | - |"
    data = export.to_tflite(graph, weights, quant.calibrate(graph, weights, [images]))
    peak = export.inspect(data).peak_ram
    return f"{known}| {len(data):,} | {peak / 1024:,.0f} KiB |"


def _random(rng: np.random.Generator, path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """Returns small positive values; variances of 1, or deep networks overflow."""
    if path[-1].key == "var":
        return np.ones(leaf.shape, leaf.dtype)
    return np.abs(rng.normal(0, 0.05, leaf.shape)).astype(leaf.dtype)


if __name__ == "__main__":
    print("| model | input | classes | parameters | MACs | INT8 file, bytes | peak RAM |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model_name in zoo.names(*sys.argv[1:]):
        print(row(model_name), flush=True)
