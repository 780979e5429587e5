import numpy as np
import pytest

from attokit import zoo
from attokit.train.mask_rle import (
    decode_masks,
    encode_masks,
    pack_bits,
    paste_mask,
    rle_areas,
    rle_iou,
    unpack_bits,
)

MASKS = np.random.default_rng(0).random((3, 9, 13)) < 0.4


def test_run_lengths_hold_every_pixel():
    rles = encode_masks(MASKS)
    assert rles[0]["size"] == [9, 13]
    np.testing.assert_array_equal(decode_masks(rles), MASKS)
    np.testing.assert_array_equal(rle_areas(rles), MASKS.sum((1, 2)))
    assert encode_masks(MASKS[:0]) == [] and rle_areas([]).shape == (0,)


def test_overlaps():
    half = MASKS.copy()
    half[:, :, 6:] = False
    rles, halves = encode_masks(MASKS), encode_masks(half)
    want = [(MASKS[0] & m).sum() / (MASKS[0] | m).sum() for m in half]
    np.testing.assert_allclose(rle_iou(rles[0], halves), want, rtol=1e-6)


def test_bits_hold_every_pixel():
    bits = pack_bits(MASKS)
    assert bits.shape == (3, 9, 2)
    np.testing.assert_array_equal(unpack_bits(bits, 13), MASKS)


@pytest.mark.parametrize(
    "box",
    [(2, 3, 14, 11), (1.3, 2.6, 9.1, 13.2), (-4, -3, 7, 30), (20, 3, 33, 9), (5, 5, 5.4, 5.3)],
)
def test_pasting_is_that_of_the_zoo(box):
    picture = np.random.default_rng(1).random((7, 7)).astype(np.float32)
    box = np.array(box, np.float32)
    whole = np.asarray(zoo.paste_masks(picture[None], box[None], (20, 24))[0])
    ours = paste_mask(picture, box, (20, 24))
    sure = np.abs(whole - 0.5) > 1e-5
    np.testing.assert_array_equal(ours[sure], (whole > 0.5)[sure])
    quantized = paste_mask(np.round(255 * picture).astype(np.uint8), box, (20, 24))
    sure = np.abs(whole - 0.5) > 1 / 255
    np.testing.assert_array_equal(quantized[sure], ours[sure])


def test_a_box_without_pixels():
    picture = np.ones((4, 4), np.float32)
    for box in ((3, 3, 3, 9), (8, 2, 5, 4), (40, 40, 50, 50)):
        assert not paste_mask(picture, np.array(box, np.float32), (20, 24)).any()
