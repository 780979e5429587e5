"""Pictures of what a network sees in an image, as PNG bytes."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from attokit.figures import png

# Hues that readers with any kind of colour vision tell apart: the "muted" scheme of Paul Tol,
# "Colour schemes", SRON/EPS/TN/09-002, 2021, and an orange for its pale grey, which on grey would
# say nothing. Further classes get them lighter, then darker.
_HUES = (
    "#cc6677", "#332288", "#ddcc77", "#117733", "#88ccee", "#882255", "#44aa99", "#999933",
    "#aa4499", "#ffaa00",
)  # fmt: skip
_TOWARDS = ((0.0, "white"), (0.5, "white"), (0.5, "black"))  # how far, of each round
_OPACITY = 0.7
_MASK_OPACITY = 0.5  # over a coloured image, which stays to be seen
_LEAST_INCHES, _DOTS_PER_INCH = 3.6, 110
_LEGEND_LINE, _MARGIN = 0.19, 0.3  # inches
_UNPAINTED = "background"
_LINE_WIDTH = 1.6  # points
FOLDER = pathlib.Path("predictions")


def class_colors(count: int) -> Float[np.ndarray, "k 3"]:
    """Returns the colours of class ids, from 0 to 1; after thirty they come again."""
    colors = []
    for index in range(count):
        round_, hue = divmod(index, len(_HUES))
        share, goal = _TOWARDS[round_ % len(_TOWARDS)]
        colors.append((1 - share) * np.array(to_rgb(_HUES[hue])) + share * np.array(to_rgb(goal)))
    return np.array(colors).reshape(count, 3)


def paint(
    image: UInt8[np.ndarray, "h w c"], ids: Int[np.ndarray, "h w"], painted: Sequence[int]
) -> Float[np.ndarray, "h w 3"]:
    """Returns an image in grey, from 0 to 1, with some classes laid over it in their colours.

    In grey, because on a coloured image no colour would stay what the legend shows.
    """
    pixels = np.broadcast_to(image.mean(-1, keepdims=True), (*ids.shape, 3)) / 255
    colors = class_colors(int(ids.max()) + 1)[ids]  # [h, w, 3]
    mixed = (1 - _OPACITY) * pixels + _OPACITY * colors
    return np.where(np.isin(ids, painted)[..., None], mixed, pixels)


def overlay(
    image: UInt8[np.ndarray, "h w c"], ids: Int[np.ndarray, "h w"], names: Mapping[int, str]
) -> bytes:
    """Returns a picture of an image, of the same in grey with its classes over it, and a legend.

    Args:
      image: Bytes, grey or RGB.
      ids: The class of every pixel.
      names: Of the classes in it, in the order of the legend; one called "background" is not
        painted.  A class has the same colour in every picture.
    """
    painted = [index for index, name in names.items() if name != _UNPAINTED]
    colors = class_colors(max(names, default=0) + 1)
    width = max(_LEAST_INCHES, ids.shape[1] / _DOTS_PER_INCH)
    height = width * ids.shape[0] / ids.shape[1]
    height = max(height, _LEGEND_LINE * len(painted)) + _MARGIN
    figure = Figure(figsize=(2 * width + 1.9, height), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(np.broadcast_to(image, (*ids.shape, 3)), interpolation="nearest")
    right.imshow(paint(image, ids, painted), interpolation="nearest")
    for axes in (left, right):
        axes.axis("off")
    patches = [Patch(facecolor=colors[index], label=names[index]) for index in painted]
    if patches:
        figure.legend(handles=patches, loc="outside right upper", fontsize=8, frameon=False)
    return png(figure)


def outline(
    image: UInt8[np.ndarray, "h w c"],
    boxes_xyxy: Float[np.ndarray, "n 4"],
    labels: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    names: Mapping[int, str],
    masks: Bool[np.ndarray, "n h w"] | None = None,
) -> bytes:
    """Returns a picture of an image with boxes drawn on it, each with its class and score.

    Args:
      image: Bytes, grey or RGB.
      boxes_xyxy: In pixels.
      labels: The class of each box.
      scores: Probabilities.
      names: Of the classes. A class has the same colour in every picture.
      masks: Which pixels belong to each, painted over the image, the first on top; None for boxes alone.
    """
    height, width, _ = image.shape
    colors = class_colors(max(names, default=0) + 1)
    pixels = np.broadcast_to(image, (height, width, 3))
    if masks is not None:
        pixels = paint_masks(pixels / 255, masks, colors[labels])
    inches = max(2 * _LEAST_INCHES, width / _DOTS_PER_INCH)
    figure = Figure(figsize=(inches, inches * height / width))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow(pixels, interpolation="nearest")
    # Pixel centres are whole numbers here, boxes count from the corner of the first pixel.
    corners = boxes_xyxy.astype(float) - 0.5
    for (left, top, right, bottom), label, score in zip(corners, labels, scores, strict=True):
        color = colors[int(label)]
        axes.add_patch(
            Rectangle(
                (left, top), right - left, bottom - top,
                fill=False, edgecolor=color, linewidth=_LINE_WIDTH,
            )
        )  # fmt: skip
        axes.text(
            left, max(top, 0), f" {names[int(label)]} {score:.2f} ", fontsize=7, color="white",
            verticalalignment="top", clip_on=True, bbox={"facecolor": color, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    return png(figure)


def paint_masks(
    pixels: Float[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "n h w"],
    colors: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "h w 3"]:
    """Returns an image, from 0 to 1, with masks laid over it; where two meet, the first is seen."""
    mixed = pixels.copy()
    for mask, color in reversed([*zip(masks, colors, strict=True)]):
        mixed[mask] = (1 - _MASK_OPACITY) * pixels[mask] + _MASK_OPACITY * color
    return mixed


def picture_folder(wanted: pathlib.Path | None) -> pathlib.Path:
    """Returns the folder for pictures of what was predicted; it may not be there yet.

    Raises:
      ValueError: if it is a file.
    """
    folder = wanted or FOLDER
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder for the pictures")
    return folder


def picture_places(
    images: Sequence[pathlib.Path], folder: pathlib.Path, ending: str
) -> list[pathlib.Path]:
    """Returns a file for the picture of each image, none of them twice and none an image itself."""
    taken = {image.resolve() for image in images}
    places = []
    for image in images:
        place, number = folder / f"{image.stem}_{ending}.png", 2
        while place.resolve() in taken:
            place, number = folder / f"{image.stem}_{ending}_{number}.png", number + 1
        taken.add(place.resolve())
        places.append(place)
    return places
