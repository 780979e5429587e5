"""Pictures of what a network sees in an image, as PNG bytes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

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
_LEAST_INCHES, _DOTS_PER_INCH = 3.6, 110
_LEGEND_LINE, _MARGIN = 0.19, 0.3  # inches
_UNPAINTED = "background"


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
