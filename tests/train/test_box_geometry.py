import numpy as np
import pytest
from PIL import Image

from attokit.train.box_geometry import cover_boxes, keep_inside, mirror_boxes
from attokit.train.image_folder import fit_image


def test_mirroring_twice_is_nothing():
    boxes = np.array([[1, 2, 5, 9], [0, 0, 20, 3]], np.float32)
    np.testing.assert_array_equal(mirror_boxes(boxes, 20), [[15, 2, 19, 9], [0, 0, 20, 3]])
    np.testing.assert_array_equal(mirror_boxes(mirror_boxes(boxes, 20), 20), boxes)


def test_what_has_its_centre_outside_is_gone():
    boxes = np.array(
        [[-2, 1, 6, 4], [-6, 1, 5, 4], [15, 8, 25, 12], [3, 3, 3, 5], [1, 1, 4, 4]], np.float32
    )
    kept, labels = keep_inside(boxes, np.array([1, 1, -2, 1, 0]), (12, 22))
    np.testing.assert_array_equal(labels, [1, 0, -2, 0, 0])
    np.testing.assert_array_equal(kept[[0, 2]], [[0, 1, 6, 4], [15, 8, 22, 12]])
    np.testing.assert_array_equal(kept[[1, 3, 4]], 0)
    assert kept.dtype == np.float32


def test_what_is_left_of_an_object_that_does_not_count_still_does_not():
    boxes = np.array([[-6, 1, 5, 4], [-6, 1, 0, 4], [18, 2, 40, 30]], np.float32)
    kept, labels = keep_inside(boxes, np.array([-1, -1, -2]), (12, 22))
    np.testing.assert_array_equal(labels, [-1, 0, -2])
    np.testing.assert_array_equal(kept, [[0, 1, 5, 4], [0, 0, 0, 0], [18, 2, 22, 12]])


@pytest.mark.parametrize(
    ("size", "shape"), [((40, 60), (16, 32)), ((30, 20), (24, 24)), ((8, 8), (32, 48))]
)
def test_boxes_stay_on_their_object(size, shape):
    pixels = np.zeros((*size, 3), np.uint8)
    box = np.array([[size[1] // 4, size[0] // 4, size[1] * 3 // 4, size[0] * 3 // 4]], np.float32)
    left, top, right, bottom = box[0].astype(int)
    pixels[top:bottom, left:right] = 255
    image = fit_image(Image.fromarray(pixels), (*shape, 1))[..., 0] > 127
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    moved, labels = keep_inside(cover_boxes(box, size, shape), np.array([1]), shape)
    assert labels == [1]
    np.testing.assert_allclose(moved[0], found, atol=1)
