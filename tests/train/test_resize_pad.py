import numpy as np
import pytest
from PIL import Image

from attokit.train.resize_pad import (
    boxes_in_fitted,
    boxes_in_original,
    fit_whole,
    resize_and_pad,
    resize_and_pad_mask,
    scaled_size,
)


def test_the_whole_image_and_padding():
    pixels = np.full((20, 40, 3), 90, np.uint8)
    fitted, info = resize_and_pad(Image.fromarray(pixels), (24, 24, 3))
    np.testing.assert_allclose(info, [[20, 40], [24, 24], [0.6, 0.6], [0, 0]])
    assert np.all(fitted[:12] == 90) and not fitted[12:].any()
    tall, info = resize_and_pad(Image.fromarray(pixels.transpose(1, 0, 2)), (24, 32, 1))
    assert tall.shape == (24, 32, 1) and scaled_size(info) == (24, 12)
    assert np.all(tall[:, :12] == 90) and not tall[:, 12:].any()


@pytest.mark.parametrize("image_size", [(375, 500), (1, 700), (33, 31), (96, 96)])
def test_boxes_go_there_and_back(image_size):
    info = fit_whole(image_size, (96, 128))
    height, width = scaled_size(info)
    assert 1 <= height <= 96 and 1 <= width <= 128 and (height == 96 or width == 128)
    h, w = image_size
    boxes = np.array([[0, 0, w, h], [0.1 * w, 0.2 * h, 0.7 * w, 0.9 * h]], np.float32)
    fitted = boxes_in_fitted(boxes, info)
    np.testing.assert_allclose(fitted[0], [0, 0, width, height], rtol=1e-5)
    np.testing.assert_allclose(boxes_in_original(fitted, info), boxes, rtol=1e-5, atol=1e-4)
    # What a detector finds in the padding is cut off.
    everything = np.array([[0, 0, 128, 96]], np.float32)
    np.testing.assert_allclose(boxes_in_original(everything, info)[0], boxes[0], rtol=1e-5)
    back = boxes_in_fitted(boxes_in_original(everything, info, cut=False), info)
    np.testing.assert_allclose(back, everything, rtol=1e-5, atol=1e-4)


def test_masks_move_with_their_image():
    mask = np.zeros((20, 40), bool)
    mask[4:12, 10:31] = True
    _, info = resize_and_pad(Image.fromarray(np.zeros((20, 40, 3), np.uint8)), (10, 20, 3))
    fitted = resize_and_pad_mask(mask, info)
    want = np.zeros((10, 20), bool)
    want[2:6, 5:16] = True  # the last column is half covered
    np.testing.assert_array_equal(fitted, want)
    _, info = resize_and_pad(Image.fromarray(np.zeros((20, 40, 3), np.uint8)), (60, 80, 3))
    want = np.pad(mask.repeat(2, 0).repeat(2, 1), ((0, 20), (0, 0)))
    np.testing.assert_array_equal(resize_and_pad_mask(mask, info), want)
