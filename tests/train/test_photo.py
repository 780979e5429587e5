import numpy as np
import pytest
from PIL import Image

from attokit.train.photo import open_stored, open_upright, with_channels

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_upper_ones(tmp_path, suffix, channels):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(RAMP).save(path)
    pixels = np.asarray(with_channels(open_upright(path), channels)).reshape(8, 8, channels)
    np.testing.assert_array_equal(pixels, (RAMP >> 8)[..., None].repeat(channels, -1))


@pytest.mark.parametrize(("dtype", "word"), [(np.int32, "integers"), (np.float32, "floats")])
def test_without_a_white_it_is_refused(tmp_path, dtype, word):
    path = tmp_path / "x.tiff"
    image = Image.fromarray(RAMP.astype(dtype))
    image.save(path)
    with pytest.raises(ValueError, match=f"x.tiff holds {word}.*: write it with 8 or 16 bits"):
        open_upright(path)
    with pytest.raises(ValueError, match=f"holds {word}"):
        with_channels(image, 1)


def test_photos_stand_upright(tmp_path):
    turned, path = Image.new("RGB", (6, 4)), tmp_path / "x.png"
    turned.putpixel((0, 3), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # held so that the first row is the right side
    turned.save(path, exif=exif)
    upright = open_upright(path)
    assert upright.size == (4, 6)
    assert upright.getpixel((0, 0)) == (255, 0, 0)
    assert open_stored(path).size == (6, 4)


def test_no_image(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match=r"cannot read the image .*x\.png.*; remove or replace it"):
        open_upright(path)


def test_a_damaged_orientation_turns_nothing(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (6, 4)).save(path, exif=b"Exif\0\0garbage!!")
    assert open_upright(path).size == (6, 4)
