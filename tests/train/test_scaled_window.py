import numpy as np
import pytest

from attokit.train.scaled_window import Window, scale_image, scale_map

MAP = np.arange(24, dtype=np.uint8).reshape(4, 6)


@pytest.mark.parametrize(
    ("scale", "place", "shift", "start", "inside"),
    [
        (1.0, 0.7, 0, 0, (0, 8)),
        (2.0, 0.0, 0, 0, (0, 8)),
        (2.0, 1.0, 0, 8, (0, 8)),
        (2.0, 1.0, 3, 11, (0, 5)),
        (0.5, 0.0, 0, 0, (0, 4)),
        (0.5, 1.0, 0, -4, (4, 8)),
        (0.5, 0.0, 99, 3, (0, 1)),  # one pixel stays in sight
        (0.5, 0.0, -99, -7, (7, 8)),
        (0.01, 0.5, 0, -4, (4, 5)),
    ],
)
def test_windows_keep_to_the_image(scale, place, shift, start, inside):
    window = Window.of(8, scale, place, shift)
    assert (window.start, (window.inside.start, window.inside.stop)) == (start, inside)
    first, last = window.source(8)
    assert 0 <= first < last <= 8


def test_whole_factors_repeat_the_pixels_of_a_map():
    out = scale_map(MAP, Window.of(4, 2.0, 0.0, 0), Window.of(6, 2.0, 1.0, 0), 255)
    np.testing.assert_array_equal(out, MAP[:2, 3:].repeat(2, 0).repeat(2, 1))


def test_what_lies_outside_is_the_filling():
    out = scale_map(MAP, Window.of(4, 0.5, 0.0, 0), Window.of(6, 0.5, 1.0, 0), 255)
    np.testing.assert_array_equal(out[:2, 3:], MAP[1::2, 1::2])
    assert (out[2:] == 255).all() and (out[:, :3] == 255).all()


@pytest.mark.parametrize("scale", [0.3, 0.8, 1.3, 2.7])
@pytest.mark.parametrize("place", [0.0, 0.4, 1.0])
def test_image_and_map_have_one_geometry(scale, place):
    """A ramp has its own coordinate as value: both must read the same places."""
    ramp = np.broadcast_to(4 * np.arange(64, dtype=np.uint8), (48, 64))
    rows, columns = Window.of(48, scale, place, 2), Window.of(64, scale, place, -5)
    image = scale_image(np.repeat(ramp[..., None], 3, -1), rows, columns, reflects=False)
    nearest = scale_map(ramp, rows, columns, 0)
    # Nearest is off by half a pixel at most, 4 units a pixel; the filter bends at the edges.
    difference = np.abs(image[..., 0].astype(int) - nearest)[rows.inside, columns.inside]
    assert difference[:, 2:-2].max(initial=0) <= 3
    outside = np.ones(ramp.shape, bool)
    outside[rows.inside, columns.inside] = False
    assert not image[outside].any() and not nearest[outside].any()
