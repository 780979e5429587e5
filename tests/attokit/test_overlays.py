import io

import numpy as np
from PIL import Image

from attokit.overlays import class_colors, overlay, paint


def _pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_colors_differ_and_stay_with_their_class():
    colors = class_colors(30)
    assert len({tuple(color) for color in colors.round(3)}) == 30
    np.testing.assert_array_equal(class_colors(4), colors[:4])
    assert colors.min() >= 0
    assert colors.max() <= 1


def test_only_some_classes_are_painted():
    image = np.full((2, 2, 1), 100, np.uint8)
    ids = np.array([[0, 1], [2, 1]])
    painted = paint(image, ids, [2])
    np.testing.assert_allclose(painted[0], 100 / 255)
    np.testing.assert_allclose(painted[1, 0], 0.3 * 100 / 255 + 0.7 * class_colors(3)[2])


def test_picture_shows_image_mask_and_legend():
    image = np.zeros((40, 60, 3), np.uint8)
    ids = np.zeros((40, 60), np.int32)
    ids[10:30, 20:40] = 2
    png = overlay(image, ids, {0: "background", 2: "bag"})
    pixels = _pixels(png)
    color = np.rint(255 * 0.7 * class_colors(3)[2])
    found = np.abs(pixels.astype(float) - color).max(-1) < 2
    height, width = pixels.shape[:2]
    assert not found[:, : width // 3].any()  # the image as it is
    assert found[:, width // 3 :].sum() > 0.02 * height * width
    legend = np.abs(pixels - 255 * class_colors(3)[2]).max(-1) < 2
    assert legend[:, -width // 4 :].any()
    assert png == overlay(image, ids, {0: "background", 2: "bag"})


def test_a_legend_is_never_cut():
    names = {i: f"class {i}" for i in range(40)}
    ids = np.arange(40)[None].repeat(4, 0)
    few, many = (
        _pixels(overlay(np.zeros((4, 40, 1), np.uint8), ids, n)) for n in ({0: "a"}, names)
    )
    assert len(many) > 3 * len(few)


def test_an_image_of_background_needs_no_legend():
    pixels = _pixels(
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), int), {0: "background"})
    )
    assert pixels.shape[1] > pixels.shape[0]
