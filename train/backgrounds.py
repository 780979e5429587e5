"""Backgrounds of scenes: two smooth fields of colour mixed by a pattern, with shapes scattered on it.

Patterns are noise of several octaves, stripes, checks and dots, more or less bent and blurred. The
shapes (ellipses and polygons with a texture of their own) have edges as garments have, so that
an edge alone does not give a garment away. Colours come first in memory here ([3, h, w]), where
NumPy is several times faster at mixing them.
"""

import functools

import numpy as np
from jaxtyping import Float32, Int, UInt8
from PIL import Image, ImageDraw


@functools.lru_cache(maxsize=256)
def _neighbors(
    side: int, cells: int
) -> tuple[Int[np.ndarray, " side"], Float32[np.ndarray, " side"]]:
    """Returns, for each pixel, the cell before it and the weight of the next one."""
    position = np.linspace(0, cells - 1, side)
    before = np.minimum(position.astype(np.intp), cells - 2)
    weight = position - before
    return before, (weight**2 * (3 - 2 * weight)).astype(np.float32)  # flat at the cells


def _enlarge(
    grid: Float32[np.ndarray, "*c gh gw"], size: tuple[int, int]
) -> Float32[np.ndarray, "*c h w"]:
    """Returns the values of a coarse grid, interpolated smoothly to (height, width).

    Not as a product of matrices, for which NumPy would start threads beside the training's.
    """
    before, weight = _neighbors(size[1], grid.shape[-1])
    rows = grid[..., before]
    rows += (grid[..., before + 1] - rows) * weight  # [*c, gh, w]
    before, weight = _neighbors(size[0], grid.shape[-2])
    field = rows.take(before, -2)
    field += (np.diff(rows, axis=-2).take(before, -2)) * weight[:, None]
    return field


def _noise(
    rng: np.random.Generator, size: tuple[int, int], cells: int
) -> Float32[np.ndarray, "h w"]:
    """Returns smooth noise in [0, 1] with about `cells` bumps along the shorter side."""
    cell = min(size) / cells
    grid = rng.random([max(2, min(side, round(side / cell))) for side in size], np.float32)
    return _enlarge(grid, size)


def _octaves(rng: np.random.Generator, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """Returns noise in [0, 1] of four sizes, each of half the strength of the one before."""
    cells = int(rng.integers(2, 6))
    total = _noise(rng, size, cells)
    for k in (1, 2, 3):
        total += _noise(rng, size, cells * 2**k) * np.float32(0.5**k)
    # A sum of noises seldom leaves the middle of its range [0, 15/8].
    return np.clip(total - np.float32(7 / 16), 0, 1)


def _wave(position: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Returns a triangle wave of period 1 between -1 and 1."""
    return np.abs(position - np.floor(position) - np.float32(0.5)) * np.float32(4) - np.float32(1)


def _waves(rng: np.random.Generator, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """Returns stripes, checks or dots in [0, 1], at any angle, straight or bent."""
    height, width = size
    angle, phase = rng.random() * np.pi, rng.random()
    frequency = rng.uniform(3, 14) / min(size)
    sharpness = np.float32(rng.choice((0.5, 1.0, 4.0)))
    bend = _noise(rng, size, 3) * np.float32(rng.choice((0.0, 0.0, 0.5, 2.0)))
    x = np.arange(width, dtype=np.float32)[None, :] * np.float32(frequency)
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(frequency)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    wave = _wave(x * cosine + y * sine + bend + np.float32(phase))
    kind = rng.integers(0, 3)
    if kind > 0:
        across = _wave(y * cosine - x * sine + bend)
        wave = wave * across if kind == 1 else (wave + across) * np.float32(0.7)
    return np.clip(wave * sharpness, -1, 1) * np.float32(0.5) + np.float32(0.5)


def _colors(
    rng: np.random.Generator, size: tuple[int, int], spread: int
) -> Float32[np.ndarray, "3 h w"]:
    """Returns a smooth field that stays within `spread` of one random colour, of 255."""
    base = rng.integers(0, 256, (3, 1, 1))
    grid = base + rng.integers(-spread, spread + 1, (3, *rng.integers(2, 5, 2)))
    return _enlarge(np.clip(grid, 0, 255).astype(np.float32), size)


def _draw_shape(rng: np.random.Generator, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """Returns an ellipse or a polygon of 3 to 6 corners that fills its patch, with soft edges."""
    height, width = size
    image = Image.new("L", (2 * width, 2 * height))  # twice the size, for smooth edges
    draw = ImageDraw.Draw(image)
    corners = int(rng.integers(2, 7))
    if corners == 2:
        draw.ellipse((0, 0, 2 * width - 1, 2 * height - 1), fill=255)
    else:
        turns = (np.sort(rng.random(corners)) + rng.random()) * 2 * np.pi
        points = np.stack([width * (1 + np.cos(turns)), height * (1 + np.sin(turns))], 1)
        draw.polygon(points.ravel().tolist(), fill=255)
    return np.asarray(image.reduce(2))


def _scatter_shapes(
    rng: np.random.Generator, canvas: Float32[np.ndarray, "3 h w"], count: int
) -> None:
    """Draws shapes at random places of the canvas, in place."""
    height, width = canvas.shape[1:]
    for _ in range(count):
        extent = rng.integers(min(height, width) // 8, min(height, width) // 2, 2)
        top, left = (
            int(rng.integers(0, side - e + 1))
            for side, e in zip((height, width), extent, strict=True)
        )
        shape = (int(extent[0]), int(extent[1]))
        cover = _draw_shape(rng, shape)[None] / np.float32(255)
        patch = canvas[:, top : top + shape[0], left : left + shape[1]]
        patch += (_colors(rng, shape, 60) - patch) * cover


def draw_background(
    rng: np.random.Generator, size: tuple[int, int], shapes: int
) -> Float32[np.ndarray, "3 h w"]:
    """Returns a textured background with some shapes on it, values in [0, 255]."""
    canvas = _colors(rng, size, 50)
    pattern = _waves(rng, size) if rng.random() < 0.5 else _octaves(rng, size)
    strength = np.float32(rng.uniform(0.2, 1))
    canvas += (_colors(rng, size, 50) - canvas) * (pattern * strength)[None]
    _scatter_shapes(rng, canvas, shapes)
    return canvas
