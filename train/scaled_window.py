"""Windows of a scaled image, of the size that the image had: the geometry of random scaling."""

import dataclasses

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Window:
    """Where the pixels of one axis of an image come from.

    Attributes:
      scaled: Pixels of the axis after scaling.
      start: The first pixel of the window on the scaled axis; negative in the padding.
      inside: The part of the window that the scaled axis covers, in pixels of the window.
    """

    scaled: int
    start: int
    inside: slice

    @classmethod
    def of(cls, size: int, scale: float, place: float, shift: int) -> "Window":
        """Returns the window of `size` pixels at a place between both ends, then shifted.

        However far the shift, one pixel of the image stays in sight.
        """
        scaled = max(1, round(size * scale))
        start = round(place * (scaled - size)) + shift
        start = min(max(start, 1 - size), scaled - 1)
        return cls(scaled, start, slice(max(0, -start), max(0, min(size, scaled - start))))

    def source(self, size: int) -> tuple[float, float]:
        """Returns first and last coordinate of the inside on the axis before scaling."""
        first, last = self.start + self.inside.start, self.start + self.inside.stop
        return first * size / self.scaled, last * size / self.scaled


def scale_image(
    image: UInt8[np.ndarray, "h w c"], rows: Window, columns: Window, reflects: bool
) -> UInt8[np.ndarray, "h w c"]:
    """Returns one window of an image that is scaled bilinearly; only its pixels are computed.

    What lies outside of the image is 0, or the image reflected.
    """
    height, width, channels = image.shape
    (top, bottom), (left, right) = rows.source(height), columns.source(width)
    size = (columns.inside.stop - columns.inside.start, rows.inside.stop - rows.inside.start)
    planes = [image] if channels == 3 else [image[..., c] for c in range(channels)]
    parts = [
        Image.fromarray(plane).resize(
            size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)
        )
        for plane in planes
    ]
    inside = np.asarray(parts[0]) if channels == 3 else np.stack([*map(np.asarray, parts)], -1)
    if inside.shape == image.shape:
        return inside
    if reflects:
        borders = [
            (window.inside.start, pixels - window.inside.stop)
            for window, pixels in ((rows, height), (columns, width))
        ]
        return np.pad(inside, (*borders, (0, 0)), "reflect")
    out = np.zeros_like(image)
    out[rows.inside, columns.inside] = inside
    return out


def scale_map(
    array: Num[np.ndarray, "h w"], rows: Window, columns: Window, filling: int
) -> Num[np.ndarray, "h w"]:
    """Returns one window of a scaled map, each pixel that under its centre; `filling` outside."""
    sources = []
    for window, size in zip((rows, columns), array.shape, strict=True):
        pixels = np.arange(window.inside.start, window.inside.stop) + window.start
        sources.append(((2 * pixels + 1) * size) // (2 * window.scaled))  # floor((p + 1/2) / s)
    out = np.full_like(array, filling)
    out[rows.inside, columns.inside] = array[np.ix_(*sources)]
    return out
