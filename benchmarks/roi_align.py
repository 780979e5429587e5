"""Compares the two ways of `attokit.zoo.roi_align`: products with weights, and gathering.

    python benchmarks/roi_align.py

Forward and with the gradient of the map, milliseconds of processor time, the best of several rounds. The number of
cells where they cross is `_FEW_CELLS` in zoo/roi_align.py.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from attokit.zoo import roi_align

# Sides of the maps, channels, regions, bins along a side.
CASES = (
    ((16, 8, 4), 48, 64, 7),
    ((32,), 48, 64, 7),
    ((32, 16, 8, 4), 48, 16, 14),
    ((48, 24, 12, 6), 48, 64, 7),
    ((64, 32, 16, 8), 48, 64, 7),
    ((64,), 128, 100, 7),
    ((128, 64, 32, 16), 128, 100, 7),
)
ROUNDS = 5


def regions(maps, boxes, levels, few_cells, bins):
    scales = tuple(m.shape[0] / maps[0].shape[0] for m in maps)
    roi_align._FEW_CELLS = few_cells
    return roi_align.pyramid_roi_align.__wrapped__(
        maps,
        boxes,
        levels,
        output_size=bins,
        sampling_ratio=2,
        spatial_scales=scales,
        aligned=True,
    )


def milliseconds(function, *arguments):
    jax.block_until_ready(function(*arguments))
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        jax.block_until_ready(function(*arguments))
        best = min(best, time.process_time() - start)
    return 1e3 * best


def main():
    rng = np.random.default_rng(0)
    print("| maps | channels | regions | products | gathering |")
    print("| --- | --- | --- | --- | --- |")
    for sides, channels, count, bins in CASES:
        maps = tuple(jnp.asarray(rng.normal(size=(n, n, channels)), jnp.float32) for n in sides)
        corner, size = rng.random((count, 2)) * sides[0], rng.random((count, 2)) * sides[0] / 2
        boxes = jnp.asarray(np.concatenate([corner - size / 2, corner + size / 2], 1), jnp.float32)
        levels = jnp.asarray(rng.integers(0, len(sides), count), jnp.int32)
        cells = []
        for few in (10**9, 0):
            forward = jax.jit(functools.partial(regions, few_cells=few, bins=bins))

            def half_square(maps, boxes, levels, few=few, bins=bins):
                return jnp.sum(regions(maps, boxes, levels, few, bins) ** 2) / 2

            gradient = jax.jit(jax.grad(half_square))
            times = [milliseconds(f, maps, boxes, levels) for f in (forward, gradient)]
            cells.append(" / ".join(f"{t:.1f}" for t in times))
        name = ", ".join(map(str, sides))
        print(f"| {name} | {channels} | {count} of {bins}x{bins} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
