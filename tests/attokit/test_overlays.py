import io
import itertools

import numpy as np
import pytest
from PIL import Image

from attokit.overlays import (
    class_colors,
    outline,
    overlay,
    paint,
    picture_folder,
    picture_places,
)


def _pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_colors_differ_and_stay_with_their_class():
    colors = class_colors(30)
    assert len({tuple(color) for color in colors.round(3)}) == 30
    np.testing.assert_array_equal(class_colors(4), colors[:4])
    assert colors.min() >= 0
    assert colors.max() <= 1


# Linear RGB as eyes without one kind of cones see it: Machado, Oliveira and Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", 2009, severity 1.
_EYES = {
    "all cones": np.eye(3),
    "no long": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no middle": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no short": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def _lab(color, eye):
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    xyz = _XYZ @ np.clip(np.array(eye) @ linear, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", _EYES)
def test_first_colors_differ_for_every_eye(eye):
    seen = [_lab(color, _EYES[eye]) for color in class_colors(10)]
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(distances) > 15  # 2.3 is a difference that is just seen


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


def test_boxes_are_drawn_where_they_are():
    image = np.full((40, 60, 1), 128, np.uint8)
    boxes = np.array([[10, 5, 50, 35], [40, 30, 60, 40]], np.float32)
    names = {1: "coat", 2: "bag"}
    picture = _pixels(outline(image, boxes, np.array([1, 2]), np.array([0.9, 0.5]), names))
    scale = picture.shape[1] / 60
    assert picture.shape[0] == round(40 * scale)
    plain = (np.abs(picture.astype(int) - 128) < 3).all(-1)
    assert plain[round(20 * scale), round(30 * scale)]  # inside
    for x, y in ((50, 20), (30, 35)):  # right and lower edge of the first
        color = picture[round(y * scale), round(x * scale)] / 255
        np.testing.assert_allclose(color, class_colors(2)[1], atol=0.12)
    nothing = _pixels(outline(image, boxes[:0], np.zeros(0, int), np.zeros(0), {}))
    assert (np.abs(nothing.astype(int) - 128) < 3).mean() > 0.99


def test_no_picture_takes_the_place_of_another(tmp_path):
    images = [tmp_path / "a" / "1.jpg", tmp_path / "1.png", tmp_path / "1_overlay.png"]
    places = [place.name for place in picture_places(images, tmp_path, "overlay")]
    assert places == ["1_overlay_2.png", "1_overlay_3.png", "1_overlay_overlay.png"]
    assert [p.name for p in picture_places(images[:1], tmp_path, "boxes")] == ["1_boxes.png"]


def test_folder_of_pictures(tmp_path):
    assert picture_folder(tmp_path / "new") == tmp_path / "new"
    assert picture_folder(None).name == "predictions"
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: give a folder for the pictures"):
        picture_folder(tmp_path / "file")


def test_masks_are_painted_in_the_color_of_their_class():
    image = np.full((40, 60, 3), 200, np.uint8)
    boxes = np.asarray([[5, 5, 25, 35], [15, 5, 55, 35]], np.float32)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 8:32, 8:24], masks[1, 8:32, 18:52] = True, True
    labels, scores = np.asarray([1, 2]), np.asarray([0.9, 0.8], np.float32)
    names = {1: "one", 2: "two"}
    plain = _pixels(outline(image, boxes, labels, scores, names))
    painted = _pixels(outline(image, boxes, labels, scores, names, masks))
    assert plain.shape == painted.shape
    scale = plain.shape[0] / 40

    def pixel(picture, row, column):
        return picture[int((row + 0.5) * scale), int((column + 0.5) * scale)].astype(int)

    for label, column in ((1, 12), (1, 21), (2, 40)):  # where they meet the first is seen
        wanted = 0.5 * 200 + 0.5 * 255 * class_colors(3)[label]
        assert np.abs(pixel(painted, 28, column) - wanted).max() < 3
    assert np.abs(pixel(painted, 37, 40) - 200).max() < 3
    assert np.abs(pixel(plain, 28, 40) - 200).max() < 3
