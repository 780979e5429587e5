import numpy as np
import pytest

from attokit.train.garments import load_garments, make_garments

T_SHIRT, SANDAL, BAG = 0, 5, 8


def _ring(hole=8, rim=200):
    """A bright square with a square hole, and another value along its outer edge."""
    image = np.zeros((28, 28), np.uint8)
    image[3:25, 3:25] = rim
    image[4:24, 4:24] = 200
    image[10 : 10 + hole, 10 : 10 + hole] = 0
    return image


def _make(image, label):
    garments = make_garments(image[None], np.array([label]))
    return garments.pixels[0, 2:-2, 2:-2], garments.covers[0, 2:-2, 2:-2]


def test_a_print_belongs_to_a_shirt_and_stays_black():
    pixels, covers = _make(_ring(), T_SHIRT)
    assert np.all(covers[3:25, 3:25] == 255)
    assert covers.sum() == 22 * 22 * 255
    assert np.all(pixels[11:17, 11:17] == 0)


@pytest.mark.parametrize("label", [BAG, SANDAL])
def test_an_opening_stays_open_but_a_buckle_is_filled(label):
    assert np.all(_make(_ring(hole=8), label)[1][10:18, 10:18] == 0)
    assert np.all(_make(_ring(hole=2), label)[1][10:12, 10:12] == 255)


def test_a_dark_edge_is_a_pixel_covered_in_part():
    pixels, covers = _make(_ring(rim=50), T_SHIRT)
    assert np.all(covers[3, 3:25] == round(255 * 50 / 200))
    assert np.all(covers[4:24, 4:24] == 255)
    assert np.all(pixels[3:25, 3] == 200)  # unmixed from the black behind


def test_the_colour_goes_on_outside():
    pixels, covers = _make(_ring(), T_SHIRT)
    assert np.all(covers[1:3] == 0)
    assert np.all(pixels[1:27, 1:3] == 200)


def test_a_thin_strap_keeps_its_values():
    image = _ring()
    image[26, :] = 90
    pixels, covers = _make(image, SANDAL)
    assert np.all(covers[26] == 255)
    assert np.all(pixels[26] == 90)


def test_specks_and_noise_are_dropped():
    image = _ring()
    image[0:2, 0:4] = 255  # eight pixels, apart
    image[26:28] = 12
    covers = _make(image, T_SHIRT)[1]
    assert not covers[:3].any()
    assert not covers[25:].any()


def test_images_too_dark_are_left_out():
    garments = make_garments(np.stack([_ring(), _ring() // 20, _ring()]), np.array([3, 4, 5]))
    assert garments.labels.tolist() == [3, 5]
    assert len(garments) == len(garments.pixels) == len(garments.covers) == 2


def test_the_subset_is_cut_out():
    garments = load_garments("test")
    assert np.bincount(garments.labels).tolist() == [100] * 10
    border = np.ones(garments.covers.shape[1:], bool)
    border[2:-2, 2:-2] = False
    assert not garments.covers[:, border].any()
    share = (garments.covers >= 128).mean((1, 2)) * 32**2 / 28**2
    by_class = [share[garments.labels == label].mean() for label in range(10)]
    # Openings count: without them sandals would cover more than sneakers do.
    assert by_class[SANDAL] == min(by_class)
    assert 0.2 < by_class[SANDAL] < 0.3 < by_class[T_SHIRT] < 0.7


def test_garments_of_a_folder(tmp_path):
    images = np.stack([_ring(), _ring() // 20, _ring()])
    for name, array in {"images-idx3": images, "labels-idx1": np.uint8([2, 4, 7])}.items():
        header = np.array([8 * 256 + array.ndim, *array.shape], ">u4").tobytes()
        (tmp_path / f"t10k-{name}-ubyte").write_bytes(header + array.tobytes())
    garments = load_garments("test", tmp_path)
    assert garments.labels.tolist() == [2, 7]  # the middle one is too dark
    np.testing.assert_array_equal(garments.pixels[0, 2:-2, 2:-2], _make(_ring(), 2)[0])


def test_refuses_an_unknown_split():
    with pytest.raises(ValueError, match="no split 'val'"):
        load_garments("val")
