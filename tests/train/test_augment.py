import numpy as np
import pytest

from attokit.train.augment import (
    Augmentation,
    AugmentConfig,
    apply_augmentation,
    draw_augmentation,
)

IMAGES = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def _draw(top, left, flip=(False, False), color=None):
    color = np.ones((2, 3), np.float32) if color is None else np.array(color, np.float32)
    return Augmentation(np.array(top), np.array(left), np.array(flip), color)


def test_crop_moves_by_what_was_drawn():
    config = AugmentConfig(crop_padding=1)
    out = apply_augmentation(config, _draw([0, 1], [2, 1]), IMAGES)
    # Row 0 of a crop that starts in the upper padding is zero; (1, 1) is the image itself.
    np.testing.assert_array_equal(out[0, 0], 0)
    np.testing.assert_array_equal(out[0, 1:, :-1], IMAGES[0, :-1, 1:])
    np.testing.assert_array_equal(out[1], IMAGES[1])


def test_reflected_border_repeats_the_second_row():
    config = AugmentConfig(crop_padding=1, padding_mode="reflect")
    out = apply_augmentation(config, _draw([0, 0], [1, 1]), IMAGES)
    np.testing.assert_array_equal(out[:, 0], IMAGES[:, 1])


def test_flip_mirrors_only_what_was_drawn():
    out = apply_augmentation(AugmentConfig(flip=True), _draw([0, 0], [0, 0], [True, False]), IMAGES)
    np.testing.assert_array_equal(out[0], IMAGES[0, :, ::-1])
    np.testing.assert_array_equal(out[1], IMAGES[1])


def test_brightness_multiplies_and_saturation_zero_is_grey():
    config = AugmentConfig(brightness=0.5, saturation=1.0)
    out = apply_augmentation(config, _draw([0, 0], [0, 0], color=[[2, 1, 1], [1, 1, 0]]), IMAGES)
    np.testing.assert_array_equal(out[0], np.minimum(2 * IMAGES[0].astype(int), 255))
    assert np.ptp(out[1], axis=-1).max() == 0


def test_contrast_zero_is_the_mean():
    out = apply_augmentation(
        AugmentConfig(contrast=1.0), _draw([0, 0], [0, 0], color=[[1, 0, 1], [1, 1, 1]]), IMAGES
    )
    np.testing.assert_array_equal(out[0], round(IMAGES[0].mean()))
    np.testing.assert_array_equal(out[1], IMAGES[1])


def test_draws_depend_on_the_generator_alone_and_rows_slice_them():
    config = AugmentConfig(crop_padding=2, flip=True, brightness=0.3)
    first, second = (draw_augmentation(config, np.random.default_rng(7), 64) for _ in range(2))
    np.testing.assert_array_equal(first.color, second.color)
    assert set(first.top) == set(range(5))
    assert 10 < first.flip.sum() < 54
    np.testing.assert_array_equal(first.rows(slice(3, 5)).left, first.left[3:5])


def test_default_changes_nothing():
    config = AugmentConfig()
    draw = draw_augmentation(config, np.random.default_rng(0), 2)
    np.testing.assert_array_equal(apply_augmentation(config, draw, IMAGES), IMAGES)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"padding_mode": "wrap"}, "padding_mode is 'wrap'"),
        ({"contrast": 2.0}, "contrast is 2.0"),
    ],
)
def test_config_refuses(fields, match):
    with pytest.raises(ValueError, match=match):
        AugmentConfig(**fields)


def test_saturation_needs_color():
    with pytest.raises(ValueError, match="needs RGB images, got 1 channels"):
        apply_augmentation(AugmentConfig(saturation=0.1), _draw([0, 0], [0, 0]), IMAGES[..., :1])


def test_reflection_needs_room():
    config = AugmentConfig(crop_padding=4, padding_mode="reflect")
    with pytest.raises(ValueError, match="cannot be reflected"):
        apply_augmentation(config, _draw([0, 0], [0, 0]), IMAGES)
