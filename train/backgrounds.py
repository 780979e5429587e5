"""Backgrounds of scenes: two smooth fields of colour mixed by a pattern, with shapes scattered on it.

Patterns are noise of several octaves, stripes, checks and dots, more or less bent and blurred. The
shapes (ellipses and polygons with a texture of their own) have edges as garments have, so that
an edge alone does not give a garment away.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw

_BICUBIC, _BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


def _noise(
    rng: np.random.Generator, size: tuple[int, int], cells: int
) -> Float32[np.ndarray, "h w"]:
    """Returns smooth noise in [0, 1] with about `cells` bumps along the shorter side."""
    height, width = size
    cell = min(size) / cells
    grid = rng.integers(0, 256, (max(2, round(height / cell)), max(2, round(width / cell))))
    image = Image.fromarray(grid.astype(np.uint8)).resize((width, height), _BICUBIC)
    return np.asarray(image, np.float32) / np.float32(255)


def _octaves(rng: np.random.Generator, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """Returns the sum of noise of four sizes, each of half the strength of the one before."""
    cells = int(rng.integers(2, 6))
    total = sum(_noise(rng, size, cells * 2**k) * np.float32(0.5**k) for k in range(4))
    return np.asarray(total, np.float32) / np.float32(1.875)


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
) -> Float32[np.ndarray, "h w 3"]:
    """Returns a smooth field that stays within `spread` of one random colour, of 255."""
    base = rng.integers(0, 256, 3)
    grid = base + rng.integers(-spread, spread + 1, (*rng.integers(2, 5, 2), 3))
    image = Image.fromarray(np.clip(grid, 0, 255).astype(np.uint8))
    return np.asarray(image.resize(size[::-1], _BILINEAR), np.float32)


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
    rng: np.random.Generator, canvas: Float32[np.ndarray, "h w 3"], count: int
) -> None:
    """Draws shapes at random places of the canvas, in place."""
    height, width = canvas.shape[:2]
    for _ in range(count):
        extent = rng.integers(min(height, width) // 8, min(height, width) // 2, 2)
        top, left = (
            int(rng.integers(0, side - e + 1))
            for side, e in zip((height, width), extent, strict=True)
        )
        shape = (int(extent[0]), int(extent[1]))
        cover = _draw_shape(rng, shape)[..., None] / np.float32(255)
        patch = canvas[top : top + shape[0], left : left + shape[1]]
        patch += (_colors(rng, shape, 60) - patch) * cover


def draw_background(
    rng: np.random.Generator, size: tuple[int, int], shapes: int
) -> Float32[np.ndarray, "h w 3"]:
    """Returns a textured background with some shapes on it, values in [0, 255]."""
    canvas = _colors(rng, size, 50)
    pattern = _waves(rng, size) if rng.random() < 0.5 else _octaves(rng, size)
    strength = np.float32(rng.uniform(0.1, 0.7))
    canvas += (_colors(rng, size, 50) - canvas) * (pattern * strength)[..., None]
    _scatter_shapes(rng, canvas, shapes)
    return canvas
