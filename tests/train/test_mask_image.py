import numpy as np
import pytest
from PIL import Image

from attokit.train.dataset import IGNORE
from attokit.train.image_folder import fit_image
from attokit.train.mask_image import decode_mask, fit_mask, has_colors, plain_ids, read_pair

IDS = np.array([[0, 1, 2], [IGNORE, 2, 1]], np.uint8)
COLORS = {(128, 64, 0): 0, (0, 0, 255): 1, (255, 255, 255): IGNORE}


def _palette():
    image = Image.fromarray(IDS, "L").convert("P")
    image.putdata(IDS.ravel().tolist())
    image.putpalette([7, 7, 9] * 256)
    return image


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(IDS), _palette(), Image.fromarray(IDS.astype(np.uint16)),
     Image.fromarray(IDS.astype(np.int32))],
    ids=lambda image: image.mode,
)  # fmt: skip
def test_ids_of_every_mode_are_read(image):
    out = decode_mask(image, plain_ids(3), "m.png")
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, IDS)


def test_single_bits_are_two_classes():
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert decode_mask(bits, plain_ids(2), "m.png").tolist() == [[0, 1]]


def test_ids_and_colours_are_translated():
    assert not has_colors(plain_ids(2)) and has_colors(COLORS)
    shifted = {0: IGNORE, 1: 0, 2: 1, IGNORE: IGNORE}
    expected = [[IGNORE, 0, 1], [IGNORE, 1, 0]]
    assert decode_mask(Image.fromarray(IDS), shifted, "m").tolist() == expected
    pixels = np.array([[(0, 0, 255), (128, 64, 0), (255, 255, 255)]], np.uint8)
    assert decode_mask(Image.fromarray(pixels), COLORS, "m").tolist() == [[1, 0, IGNORE]]


@pytest.mark.parametrize(
    ("pixels", "meaning", "match"),
    [
        (IDS, plain_ids(2), r"m.png holds id 2, which stands for no class of 2"),
        (np.full((1, 1), 70000, np.int32), plain_ids(2), "holds id 70000"),
        (np.full((1, 1), -1, np.int32), plain_ids(2), "holds id -1"),
        (np.arange(20, dtype=np.uint8)[None], plain_ids(2), "id 2, 3, 4, 5, 6 and 13 more"),
        (np.full((1, 1, 3), 9, np.uint8), COLORS, r"holds colour \(9, 9, 9\)"),
        (np.zeros((1, 1, 3), np.uint8), plain_ids(2), r"colour image \(RGB\).*label_colors.txt"),
    ],
)
def test_what_stands_for_nothing_is_refused(pixels, meaning, match):
    with pytest.raises(ValueError, match=match):
        decode_mask(Image.fromarray(pixels), meaning, "m.png")


@pytest.mark.parametrize("shape", [(16, 16), (50, 20), (7, 40)])
def test_masks_are_cut_as_their_images(shape):
    half = np.zeros((30, 44), np.uint8)
    half[11:, 17:] = 1
    image = Image.fromarray(np.repeat(255 * half[..., None], 3, -1))
    mask = fit_mask(half, *shape)
    pixels = fit_image(image, (*shape, 3))[..., 0]
    sharp = (pixels < 32) | (pixels > 223)
    assert sharp.mean() > 0.7
    np.testing.assert_array_equal(mask[sharp], (pixels > 127)[sharp])


def test_resizing_makes_no_class_between_two_others():
    """Between 0 and 10 lies 5, between 10 and `IGNORE` an id of nothing."""
    ids = np.random.default_rng(0).choice(np.array([0, 10, IGNORE], np.uint8), (30, 44))
    for height, width in ((17, 29), (61, 80), (33, 47)):
        assert set(np.unique(fit_mask(ids, height, width))) == {0, 10, IGNORE}


def test_pairs_are_checked(tmp_path):
    image, mask = tmp_path / "a.png", tmp_path / "a_mask.png"
    Image.new("RGB", (4, 3)).save(image)
    Image.new("L", (4, 3), 1).save(mask)
    pair = read_pair(image, mask, (2, 2, 3), plain_ids(2))
    assert (pair["images"].shape, pair["masks"].tolist()) == ((2, 2, 3), [[1, 1], [1, 1]])
    Image.new("L", (3, 4)).save(mask)
    with pytest.raises(ValueError, match=r"a_mask.png \(of a.png\) has 3x4 pixels, its image 4x3"):
        read_pair(image, mask, (2, 2, 3), plain_ids(2))
    mask.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot read the image .*a_mask.png"):
        read_pair(image, mask, (2, 2, 3), plain_ids(2))
