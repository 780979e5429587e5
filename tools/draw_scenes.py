"""Draws a sheet of scenes: images with boxes, and their class maps.

python tools/draw_scenes.py OUTPUT.png [--size 128] [--count 12] [--split train] [--seed 0]
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw

from attokit.train.scenes import CLASS_NAMES, scene_source

_COLORS = np.random.default_rng(1).integers(60, 256, (len(CLASS_NAMES), 3)).astype(np.uint8)
_COLORS[0] = 0
_PER_ROW = 4
_ZOOM = 2


def draw_pair(batch: dict[str, np.ndarray], row: int) -> Image.Image:
    """Returns one scene with its boxes and class names, and its class map to the right."""
    labels = np.concatenate([[0], batch["box_labels"][row]])
    classes = _COLORS[labels[batch["instance_maps"][row]]]
    image = Image.fromarray(np.concatenate([batch["images"][row], classes], 1))
    image = image.resize((image.width * _ZOOM, image.height * _ZOOM), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    for box, label in zip(batch["boxes"][row], batch["box_labels"][row], strict=True):
        if label:
            left, top, right, bottom = (float(side) * _ZOOM for side in box)
            draw.rectangle(
                (left, top, right - 1, bottom - 1), outline=tuple(_COLORS[label].tolist())
            )
            draw.text((left + image.width // 2, top), CLASS_NAMES[label], fill="white")
    return image


def main() -> None:
    """Draws the sheet, writes it, says where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=128, help="side of the scenes in pixels")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = scene_source(
        arguments.split,
        length=arguments.count,
        size=(arguments.size, arguments.size),
        seed=arguments.seed,
        instances=True,
    )
    batch = source.read(np.arange(arguments.count))
    pairs = [draw_pair(batch, row) for row in range(arguments.count)]
    width, height = pairs[0].size
    rows = -(-len(pairs) // _PER_ROW)
    sheet = Image.new("RGB", (width * min(_PER_ROW, len(pairs)), height * rows))
    for number, pair in enumerate(pairs):
        sheet.paste(pair, (number % _PER_ROW * width, number // _PER_ROW * height))
    sheet.save(arguments.output)
    print(f"wrote {arguments.output} ({arguments.count} scenes)")


if __name__ == "__main__":
    main()
