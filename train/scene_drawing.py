"""Scenes: garments at random scale and place on textured backgrounds, with exact annotations.

A scene is a pure function of a generator, the garments and the configuration. Garments are
pasted one after the other, so later ones cover earlier ones. A pixel belongs to the garment whose
mask, resized and rotated together with the garment, covers at least half of it; colours blend over
about one pixel at the edges, as in a photograph.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from PIL import Image
from scipy import ndimage

from attokit.train.backgrounds import draw_background
from attokit.train.garments import Garments

MIN_SIDE = 32  # pixels of a scene
_AFFINE, _BILINEAR = Image.Transform.AFFINE, Image.Resampling.BILINEAR
_PLACES = 8  # tried for one garment before it is left out
_TINTS = 8  # tried for one garment


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What a scene holds.

    Attributes:
      garments: Fewest and most garments, both included; one that finds no place is left out.
      scale: Smallest and largest longer side of a garment, as a share of the scene's shorter side.
      rotation: Largest angle to either side, in degrees.
      max_cover: Largest share of a garment's pixels that later ones or the border may hide.
      shapes: Fewest and most shapes on the background, both included.
      contrast: Least distance of a garment's mean colour from what it covers, of 442 between
        black and white; where no drawn colour reaches it, the most distant is taken.
      noise: Largest change of a value by noise over the whole image, of 255.
    """

    garments: tuple[int, int] = (4, 8)
    scale: tuple[float, float] = (0.35, 0.6)
    rotation: float = 10.0
    max_cover: float = 0.2
    shapes: tuple[int, int] = (0, 3)
    contrast: float = 70.0
    noise: float = 6.0

    def __post_init__(self) -> None:
        """Refuses ranges that are empty or outside of what can be drawn."""
        counts = {"garments": self.garments, "shapes": self.shapes}
        for name, count in counts.items():
            if not all(isinstance(number, int) for number in count):
                raise ValueError(f"{name} of a scene is {count}: give two whole numbers")
        for name, pair, lowest, highest in (
            ("garments", self.garments, 0, 255),  # instance ids are bytes
            ("shapes", self.shapes, 0, 255),
            ("scale", self.scale, 0.1, 1),
        ):
            if len(pair) != 2 or not lowest <= pair[0] <= pair[1] <= highest:
                raise ValueError(
                    f"{name} of a scene is {pair}: give the smallest and the largest, "
                    f"from {lowest} to {highest}"
                )
        largest = {"rotation": 180, "max_cover": 0.9, "contrast": 442, "noise": 64}
        for name, most in largest.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"{name} of a scene is {value}: give a number from 0 to {most}")


DEFAULT = SceneConfig()


@dataclasses.dataclass(frozen=True)
class Scene:
    """A drawn scene and what is in it.

    Ids of instances are 1 to n without gaps, in the order of `boxes_xyxy` and `labels`; each has at
    least one visible pixel, and its class is the same in `class_map` as in `labels`.

    Attributes:
      image: RGB.
      class_map: 0 for background, 1 + Fashion-MNIST's class number for garments.
      instance_map: 0 for background, the id of the visible garment elsewhere.
      boxes_xyxy: Left, top, right, bottom of the visible pixels; right and bottom are exclusive.
      labels: 1 + Fashion-MNIST's class number.
    """

    image: UInt8[np.ndarray, "h w 3"]
    class_map: UInt8[np.ndarray, "h w"]
    instance_map: UInt8[np.ndarray, "h w"]
    boxes_xyxy: Float32[np.ndarray, "n 4"]
    labels: Int32[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class _Patch:
    """A resized and rotated garment. `opacity` is in [0, 1] and at least 1/2 exactly in `mask`."""

    pixels: UInt8[np.ndarray, "h w"]
    opacity: Float32[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]

    def crop(self, rows: slice, columns: slice) -> "_Patch":
        """Returns a part of the patch."""
        return _Patch(
            self.pixels[rows, columns], self.opacity[rows, columns], self.mask[rows, columns]
        )


def _transform(
    pixels: UInt8[np.ndarray, "h w"],
    cover: UInt8[np.ndarray, "h w"],
    *,
    longer_side: float,
    degrees: float,
    mirrored: bool,
) -> _Patch:
    """Returns a garment with a given longer side (in pixels, before rotation)."""
    mask = cover >= 128
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    scale = longer_side / max(height, width)
    shrink = max(1, int(1 / scale))  # averaged first: interpolation alone would skip pixels
    images = [Image.fromarray(pixels), Image.fromarray(cover)]
    if shrink > 1:
        images = [image.reduce(shrink) for image in images]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    size = (
        math.ceil(scale * (width * abs(cosine) + height * abs(sine))) + 1,
        math.ceil(scale * (width * abs(sine) + height * abs(cosine))) + 1,
    )
    # From the centre of the patch back to the centre of the mask.
    step = 1 / (scale * shrink)
    flip = -1 if mirrored else 1
    a, b, d, e = flip * cosine * step, flip * sine * step, -sine * step, cosine * step
    center_x, center_y = (columns[0] + width / 2) / shrink, (rows[0] + height / 2) / shrink
    c = center_x - a * size[0] / 2 - b * size[1] / 2
    f = center_y - d * size[0] / 2 - e * size[1] / 2
    gray, share = (
        np.asarray(image.transform(size, _AFFINE, (a, b, c, d, e, f), _BILINEAR))
        for image in images
    )
    # Interpolation makes edges `scale * shrink` pixels wide; steeper, they are one pixel wide.
    steep = np.float32(max(1.0, scale * shrink) / 255)
    opacity = (share - np.float32(127.5)) * steep + np.float32(0.5)
    return _Patch(gray, np.clip(opacity, 0, 1), share >= 128)


def _choose_colors(
    rng: np.random.Generator,
    gray: float,
    beneath: Float32[np.ndarray, " 3"],
    contrast: float,
) -> Float32[np.ndarray, "2 3"]:
    """Returns the colours that stand for black and for white in a garment of mean `gray` / 255."""
    drawn = rng.random((_TINTS, 4), np.float32)
    white = drawn[:, :3] * np.float32(215) + np.float32(40)
    white *= np.float32(255) / np.maximum(white.max(1, keepdims=True), np.float32(170))
    black = white * drawn[:, 3:] * np.float32(0.3)
    mean = black + (white - black) * np.float32(gray / 255)
    distance = np.sqrt(((mean - beneath) ** 2).sum(1))
    chosen = np.argmax(distance >= contrast) if distance.max() >= contrast else distance.argmax()
    return np.stack([black[chosen], white[chosen]])


def _place(
    rng: np.random.Generator, side: int, extent: int, max_cover: float
) -> tuple[slice, slice]:
    """Returns where a patch comes to lie along one side: the pixels of the scene and of the patch."""
    outside = int(extent * max_cover * 0.5)
    low, high = sorted((-outside, side - extent + outside))
    start = int(rng.integers(low, high + 1))
    first, last = max(start, 0), min(start + extent, side)
    return slice(first, last), slice(first - start, last - start)


class _Canvas:
    """A scene in the making: colours, the map of instances, and how large each is when whole."""

    def __init__(self, colors: Float32[np.ndarray, "3 h w"], config: SceneConfig):
        self._config = config
        self._colors = colors
        self._map: np.ndarray = np.zeros(colors.shape[1:], np.uint8)
        self._whole = np.zeros(1, np.int64)  # pixels by id; the background may be hidden
        self._visible = np.zeros(1, np.int64)
        self._labels = np.zeros(1, np.int32)

    def try_to_paste(self, rng: np.random.Generator, patch: _Patch, label: int) -> None:
        """Pastes a garment where it hides no other too much; leaves it out if no place is found."""
        whole = np.count_nonzero(patch.mask)
        for _ in range(_PLACES):
            height, width = self._map.shape
            rows, patch_rows = _place(rng, height, len(patch.mask), self._config.max_cover)
            columns, patch_columns = _place(rng, width, len(patch.mask.T), self._config.max_cover)
            inside = patch.crop(patch_rows, patch_columns)
            visible = np.count_nonzero(inside.mask)
            hidden = np.bincount(self._map[rows, columns][inside.mask], minlength=len(self._whole))
            if self._shows_enough(visible, whole) and np.all(
                self._shows_enough((self._visible - hidden)[1:], self._whole[1:])
            ):
                self._visible = np.append(self._visible - hidden, visible)
                self._whole = np.append(self._whole, whole)
                self._labels = np.append(self._labels, np.int32(label + 1))
                self._map[rows, columns][inside.mask] = len(self._whole) - 1
                self._blend(rng, inside, self._colors[:, rows, columns])
                return

    def _shows_enough(self, visible: Any, whole: Any) -> Any:
        """Returns whether so many pixels of a whole garment may remain; never none of them."""
        return (visible > 0) & (visible >= (1 - self._config.max_cover) * whole)

    def _blend(
        self, rng: np.random.Generator, patch: _Patch, colors: Float32[np.ndarray, "3 h w"]
    ) -> None:
        beneath = colors[:, ::2, ::2].mean((1, 2))
        gray = float(patch.pixels[::2, ::2].mean())
        black, white = _choose_colors(rng, gray, beneath, self._config.contrast)
        levels = patch.pixels[None] / np.float32(255)
        tinted = levels * (white - black)[:, None, None] + black[:, None, None]
        colors += (tinted - colors) * patch.opacity[None]

    def finish(self, rng: np.random.Generator) -> Scene:
        """Returns the scene, with noise over all of it."""
        # Eight values of noise from each number drawn: drawing is what costs time here.
        drawn = rng.integers(0, 2**64, -(-self._colors.size // 8), np.uint64).astype("<u8")
        grain = drawn.view(np.int8)[: self._colors.size].reshape(self._colors.shape)
        values = self._colors + grain * np.float32(self._config.noise / 128)
        values = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
        boxes = [
            (columns.start, rows.start, columns.stop, rows.stop)
            for rows, columns in ndimage.find_objects(self._map)
        ]
        return Scene(
            image=np.stack(list(values), -1),
            class_map=self._labels.astype(np.uint8)[self._map],
            instance_map=self._map,
            boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            labels=self._labels[1:],
        )


def check_size(size: tuple[int, int]) -> None:
    """Raises ValueError unless a scene of (height, width) can be drawn."""
    if len(size) != 2 or min(size) < MIN_SIDE:
        raise ValueError(
            f"a scene of {size} pixels is too small: give height and width of at least {MIN_SIDE}"
        )


def draw_scene(
    rng: np.random.Generator,
    garments: Garments,
    size: tuple[int, int],
    config: SceneConfig = DEFAULT,
) -> Scene:
    """Returns a scene of (height, width) pixels; the generator alone decides what is in it.

    Raises:
      ValueError: if a side has less than 32 pixels.
    """
    check_size(size)
    shapes = int(rng.integers(config.shapes[0], config.shapes[1] + 1))
    canvas = _Canvas(draw_background(rng, size, shapes), config)
    for _ in range(rng.integers(config.garments[0], config.garments[1] + 1)):
        chosen = int(rng.integers(len(garments)))
        patch = _transform(
            garments.pixels[chosen],
            garments.covers[chosen],
            longer_side=rng.uniform(*config.scale) * min(size),
            degrees=rng.uniform(-config.rotation, config.rotation),
            mirrored=rng.random() < 0.5,
        )
        canvas.try_to_paste(rng, patch, int(garments.labels[chosen]))
    return canvas.finish(rng)
