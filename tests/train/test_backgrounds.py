import numpy as np
import pytest

from attokit.train.backgrounds import _enlarge, draw_background


@pytest.mark.parametrize("size", [(32, 32), (33, 70), (128, 40)])
def test_values_are_those_of_bytes(size):
    for seed in range(20):
        canvas = draw_background(np.random.default_rng(seed), size, 3)
        assert canvas.shape == (3, *size)
        assert canvas.dtype == np.float32
        assert canvas.min() >= -1e-3  # float rounding
        assert canvas.max() <= 255 + 1e-3


def test_the_generator_decides():
    first, again, other = (
        draw_background(np.random.default_rng(s), (40, 50), 2) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 5


def test_shapes_lie_on_the_same_background():
    bare, scattered = (draw_background(np.random.default_rng(4), (64, 64), n) for n in (0, 2))
    changed = np.abs(bare - scattered).max(0) > 1
    assert 0.01 < changed.mean() < 0.5


def test_textures_differ_within_and_between_images():
    canvases = [draw_background(np.random.default_rng(seed), (64, 64), 0) for seed in range(40)]
    steps = np.array([np.abs(np.diff(canvas, axis=-1)).mean() for canvas in canvases])
    assert steps.min() > 0.1  # none is one flat colour
    assert steps.max() > 10 * steps.min()


def test_enlarging_goes_through_the_values_and_stays_between_them():
    grid = np.random.default_rng(0).random((2, 3, 4), np.float32)
    field = _enlarge(grid, (9, 13))
    np.testing.assert_allclose(field[:, ::4, ::4], grid, atol=1e-6)
    assert field.min() >= grid.min() - 1e-6
    assert field.max() <= grid.max() + 1e-6
    np.testing.assert_allclose(_enlarge(np.full((2, 2), 7, np.float32), (5, 6)), 7.0)
