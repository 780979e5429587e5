"""Image augmentation on whole batches: padded crop, horizontal flip, colour jitter.

What to do is drawn first, for the whole batch of all hosts, from a generator that only (seed,
step) decide; each host then applies its rows. So neither a resumed run nor another number of
hosts changes a single pixel.
"""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training images are varied. The default does nothing.

    Attributes:
      crop_padding: Pixels added on every side before a crop of the original size.
      padding_mode: What the added pixels hold: zeros, or the image reflected.
      flip: Whether half of the images are mirrored left to right.
      brightness: Largest relative change of all values; 0.2 means a factor in [0.8, 1.2].
      contrast: Largest relative change of the distance to the image's mean.
      saturation: Largest relative change of the distance to grey; needs three channels.
    """

    crop_padding: int = 0
    padding_mode: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        """Refuses negative padding and factors that could turn negative."""
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding is {self.crop_padding}: give 0 or more pixels")
        if self.padding_mode not in ("zero", "reflect"):
            raise ValueError(f"padding_mode is {self.padding_mode!r}: choose zero or reflect")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}: give a number from 0 to 1")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What was drawn for each image of a batch. All arrays share the leading axis."""

    top: Int[np.ndarray, " b"]
    left: Int[np.ndarray, " b"]
    flip: Bool[np.ndarray, " b"]
    color: Float[np.ndarray, "b 3"]

    def rows(self, rows: slice) -> "Augmentation":
        """Returns the draws of some images of the batch."""
        return Augmentation(self.top[rows], self.left[rows], self.flip[rows], self.color[rows])


def draw_augmentation(config: AugmentConfig, rng: np.random.Generator, count: int) -> Augmentation:
    """Returns one independent draw for each of `count` images.

    Every field is drawn whatever the config says, so that switching one on leaves the others.
    """
    spread = np.array([config.brightness, config.contrast, config.saturation], np.float32)
    return Augmentation(
        top=rng.integers(0, 2 * config.crop_padding + 1, count),
        left=rng.integers(0, 2 * config.crop_padding + 1, count),
        flip=(rng.random(count) < 0.5) & config.flip,
        color=1 + spread * rng.uniform(-1, 1, (count, 3)).astype(np.float32),
    )


def _crop(
    images: UInt8[np.ndarray, "b h w c"], draw: Augmentation, padding: int, mode: str
) -> UInt8[np.ndarray, "b h w c"]:
    _, height, width, _ = images.shape
    widths = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(images, widths, "constant" if mode == "zero" else "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    cropped = windows[np.arange(len(images)), draw.top, draw.left]  # [b, c, h, w]
    return np.moveaxis(cropped, 1, -1)


def _jitter(
    images: UInt8[np.ndarray, "b h w c"], color: Float[np.ndarray, "b 3"]
) -> UInt8[np.ndarray, "b h w c"]:
    brightness, contrast, saturation = np.moveaxis(color[:, :, None, None, None], 1, 0)
    values = images.astype(np.float32) * brightness
    mean = values.mean((1, 2, 3), keepdims=True)
    values = mean + (values - mean) * contrast
    grey = values.mean(-1, keepdims=True)
    values = grey + (values - grey) * saturation
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def apply_augmentation(
    config: AugmentConfig, draw: Augmentation, images: UInt8[np.ndarray, "b h w c"]
) -> UInt8[np.ndarray, "b h w c"]:
    """Returns the images, varied as drawn.

    Raises:
      ValueError: if saturation is asked of images without three channels, or a reflected
        border is wider than the image.
    """
    if config.saturation and images.shape[-1] != 3:
        raise ValueError(
            f"saturation {config.saturation} needs RGB images, got {images.shape[-1]} channels: "
            "set saturation to 0"
        )
    if config.crop_padding:
        if config.padding_mode == "reflect" and config.crop_padding >= min(images.shape[1:3]):
            raise ValueError(
                f"crop_padding {config.crop_padding} cannot be reflected from images of "
                f"{images.shape[1:3]} pixels: choose less, or padding_mode zero"
            )
        images = _crop(images, draw, config.crop_padding, config.padding_mode)
    if config.flip:
        images = np.where(draw.flip[:, None, None, None], images[:, :, ::-1], images)
    if config.brightness or config.contrast or config.saturation:
        images = _jitter(images, draw.color)
    return np.ascontiguousarray(images)
