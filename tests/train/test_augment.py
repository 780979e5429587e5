import time

import numpy as np
import pytest
from PIL import Image

from attokit.train.augment import (
    Augmentation,
    AugmentConfig,
    apply_augmentation,
    augment_batch,
    draw_augmentation,
)
from attokit.train.dataset import IGNORE
from attokit.train.mask_rle import paste_mask
from attokit.train.mask_targets import compact_instances

IMAGES = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def _draw(top, left, flip=(False, False), color=None, scale=(1.0, 1.0), place=(0.0, 0.0)):
    color = np.ones((2, 3), np.float32) if color is None else np.array(color, np.float32)
    return Augmentation(
        top=np.array(top),
        left=np.array(left),
        flip=np.array(flip),
        color=color,
        scale=np.array(scale),
        place=np.array([place, place]),
        aim=np.ones((2, 6)),
        mix_shares=np.ones(2, np.float32),
        mix_boxes=np.zeros((2, 4), np.float32),
    )


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


def test_settings_that_are_off_leave_the_draws_of_the_others():
    plain, scaled = AugmentConfig(flip=True), AugmentConfig(flip=True, scale=(0.5, 2.0))
    first, second = (draw_augmentation(c, np.random.default_rng(7), 64) for c in (plain, scaled))
    np.testing.assert_array_equal(first.flip, second.flip)
    np.testing.assert_array_equal(first.scale, 1)
    assert 0.5 <= second.scale.min() < 0.6 and 1.8 < second.scale.max() <= 2


SCALED = AugmentConfig(scale=(0.5, 2.0))
SMOOTH = np.random.default_rng(0).integers(0, 255, (2, 32, 48, 3)).astype(np.uint8)


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 0.5), (0.3, 1.0)])
def test_scaling_up_is_a_window_of_the_whole_resized_image(place):
    draw = _draw([0, 0], [0, 0], scale=(1.5, 2.0), place=place)
    out = apply_augmentation(SCALED, draw, SMOOTH)
    for index, (height, width) in enumerate([(48, 72), (64, 96)]):
        whole = Image.fromarray(SMOOTH[index]).resize((width, height), Image.Resampling.BILINEAR)
        top, left = round(place[0] * (height - 32)), round(place[1] * (width - 48))
        expected = np.asarray(whole)[top : top + 32, left : left + 48]
        # The windows' edges are given to the resizing as floats: one unit of rounding.
        np.testing.assert_allclose(out[index].astype(int), expected.astype(int), atol=1)


def test_scaling_down_puts_the_whole_image_into_the_padding():
    draw = _draw([0, 0], [0, 0], scale=(0.5, 0.5), place=(1.0, 0.5))
    out = augment_batch(SCALED, draw, {"images": SMOOTH, "masks": SMOOTH[..., 0] % 7})
    whole = Image.fromarray(SMOOTH[0]).resize((24, 16), Image.Resampling.BILINEAR)
    # At the far end of the room of -16 rows the image lies at the bottom.
    np.testing.assert_array_equal(out["images"][0, 16:, 12:36], np.asarray(whole))
    assert not out["images"][0, :16].any() and not out["images"][0, :, :12].any()
    assert (out["masks"][0, :16] == IGNORE).all() and (out["masks"][0, :, 36:] == IGNORE).all()
    assert out["masks"][0, 16:, 12:36].max() < 7


def test_reflected_border_of_a_scaled_image_is_no_mask():
    config = AugmentConfig(scale=(0.5, 0.5), padding_mode="reflect")
    draw = _draw([0, 0], [0, 0], scale=(0.5, 0.5))
    out = augment_batch(config, draw, {"images": SMOOTH, "masks": SMOOTH[..., 0]})
    np.testing.assert_array_equal(out["images"][:, 16:31], out["images"][:, 14::-1])
    assert (out["masks"][:, 16:] == IGNORE).all()


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(crop_padding=9, flip=True),
        AugmentConfig(scale=(0.4, 3.0), flip=True),
        AugmentConfig(scale=(0.4, 3.0), crop_padding=9, flip=True),
        AugmentConfig(scale=(0.1, 0.2), crop_padding=60, flip=True),
    ],
)
def test_images_and_masks_move_alike(config):
    """An image of two flat halves stays aligned with its mask, away from the blurred edge."""
    masks = np.zeros((64, 32, 48), np.uint8)
    masks[:, :, 20:] = 1
    masks[:, 24:] = 2
    images = np.repeat(80 * masks[..., None] + 40, 3, -1)
    draw = draw_augmentation(config, np.random.default_rng(1), 64)
    out = augment_batch(config, draw, {"images": images, "masks": masks, "labels": np.arange(64)})
    np.testing.assert_array_equal(out["labels"], np.arange(64))
    assert set(np.unique(out["masks"])) == {0, 1, 2, IGNORE}
    grey = out["images"][..., 0].astype(int)
    np.testing.assert_array_equal(out["masks"] == IGNORE, grey == 0)
    inside = out["masks"] != IGNORE
    # Nearest against bilinear: they part only where the edge is blurred.
    wrong = np.abs(grey - 80 * out["masks"].astype(int) - 40)[inside]
    assert wrong.mean() < (16 if config.scale[1] < 1 else 3)


def test_depths_come_closer_as_they_grow():
    depths = np.full((2, 4, 5), 6, np.float32)
    draw = _draw([0, 0], [0, 0], scale=(2.0, 0.5))
    out = augment_batch(SCALED, draw, {"images": IMAGES, "depths": depths})["depths"]
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[0], 3)
    np.testing.assert_array_equal(np.unique(out[1]), [0, 12])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels_is_scaled(channels):
    images = np.repeat(SMOOTH[..., :1], channels, -1)
    draw = _draw([0, 0], [0, 0], scale=(1.5, 0.7))
    out = apply_augmentation(SCALED, draw, images)
    assert out.shape == images.shape
    assert np.ptp(out, axis=-1).max() == 0


@pytest.mark.slow
def test_all_of_it_takes_less_than_two_milliseconds_an_image():
    config = AugmentConfig(
        scale=(0.5, 2.0), crop_padding=8, flip=True, brightness=0.3, contrast=0.3, saturation=0.3
    )
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 255, (16, 128, 128, 3)).astype(np.uint8),
        "masks": rng.integers(0, 11, (16, 128, 128)).astype(np.uint8),
    }
    seconds = []
    for step in range(5):
        start = time.perf_counter()
        augment_batch(config, draw_augmentation(config, np.random.default_rng(step), 16), batch)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) / 16 < 2e-3  # an idle core takes a third of that


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
        ({"scale": (0.0, 1.0)}, r"scale is \(0.0, 1.0\)"),
        ({"scale": (2.0, 1.0)}, r"scale is \(2.0, 1.0\)"),
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


BOX_CONFIG = AugmentConfig(
    scale=(0.6, 1.7), flip=True, crop_padding=5, brightness=0.1, anchor_sizes=(6.0, 12.0, 24.0)
)


def _batch_of_rectangles(rng, count):
    """One bright rectangle each, its box, a row that is not used, and the map of instances."""
    images = np.full((count, 40, 56, 1), 20, np.uint8)
    boxes, labels = np.zeros((count, 2, 4), np.float32), np.zeros((count, 2), np.int32)
    for index in range(count):
        width, height = rng.integers(6, 20, 2)
        left, top = rng.integers(0, 56 - width), rng.integers(0, 40 - height)
        images[index, top : top + height, left : left + width] = 220
        boxes[index, 0] = left, top, left + width, top + height
        labels[index, 0] = 3
    maps = (images[..., 0] > 100).astype(np.uint8)
    return {"images": images, "boxes": boxes, "box_labels": labels, "instance_maps": maps}


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(),
        AugmentConfig(flip=True),
        AugmentConfig(crop_padding=6),
        AugmentConfig(scale=(0.5, 2.0)),
        BOX_CONFIG,
    ],
)
def test_boxes_stay_on_what_they_name(config):
    rng = np.random.default_rng(3)
    batch = _batch_of_rectangles(rng, 24)
    out = augment_batch(config, draw_augmentation(config, rng, 24), batch)
    seen = 0
    for image, instance_map, box, label in zip(
        out["images"], out["instance_maps"], out["boxes"], out["box_labels"], strict=True
    ):
        assert label[1] == 0 and not box[1].any()
        inside = image[..., 0] > 110
        np.testing.assert_array_less(np.mean(inside != instance_map), 0.06)
        if not label[0]:
            assert not box[0].any()
            continue
        seen += 1
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(box[0], found, atol=1.2)
    assert seen >= 12
    if config == AugmentConfig():
        np.testing.assert_array_equal(out["boxes"], batch["boxes"])


@pytest.mark.parametrize("config", [AugmentConfig(flip=True), BOX_CONFIG])
def test_pictures_stay_pictures_of_their_boxes(config):
    """The left lower half of every rectangle: what the moved picture shows is what the moved map does."""
    rng = np.random.default_rng(5)
    batch = _batch_of_rectangles(rng, 24)
    for index, box in enumerate(batch["boxes"][:, 0].astype(int)):
        left, top, right, bottom = box
        y, x = np.mgrid[top:bottom, left:right]
        half = (x - left) * (bottom - top) > (y - top) * (right - left)
        batch["instance_maps"][index, top:bottom, left:right][half] = 0
    masks = [
        compact_instances(m, b, 56)
        for m, b in zip(batch["instance_maps"], batch["boxes"], strict=True)
    ]
    out = augment_batch(
        config, draw_augmentation(config, rng, 24), batch | {"instance_masks": np.stack(masks)}
    )
    overlaps = []
    for moved, pictures, boxes, labels in zip(
        out["instance_maps"], out["instance_masks"], out["boxes"], out["box_labels"], strict=True
    ):
        if labels[0]:
            shown = paste_mask(pictures[0], boxes[0], moved.shape)
            overlaps.append((shown & (moved > 0)).sum() / max(1, (shown | (moved > 0)).sum()))
    assert len(overlaps) >= 12 and np.mean(overlaps) > 0.85 and min(overlaps) > 0.4, overlaps


@pytest.mark.parametrize("strength", [255, 90])
def test_objects_cut_off_with_their_pixels_do_not_count(strength):
    """Objects fill the left quarter of their boxes: crops leave boxes with nothing in them."""
    picture = np.zeros((8, 8), np.uint8)
    picture[:, :2] = strength
    batch = {
        "images": np.zeros((60, 32, 32, 3), np.uint8),
        "boxes": np.tile(np.float32([0, 8, 20, 24]), (60, 1, 1)),
        "box_labels": np.full((60, 1), 2, np.int32),
        "instance_masks": np.tile(picture, (60, 1, 1, 1)),
    }
    config = AugmentConfig(crop_padding=8)
    draw = draw_augmentation(config, np.random.default_rng(0), 60)
    out = augment_batch(config, draw, batch)
    shown = (out["instance_masks"] > 127).any((1, 2, 3))
    np.testing.assert_array_equal(out["box_labels"][:, 0], np.where(shown, 2, -2))
    assert 0 < shown.sum() < 60 if strength == 255 else not shown.any()
    flip = AugmentConfig(flip=True)  # nothing is cut off
    out = augment_batch(flip, draw_augmentation(flip, np.random.default_rng(0), 60), batch)
    assert (out["box_labels"] == 2).all()


def test_exact_pixels_are_not_for_training():
    batch = _batch_of_rectangles(np.random.default_rng(0), 1) | {"instance_bits": np.zeros(1)}
    draw = draw_augmentation(AugmentConfig(), np.random.default_rng(0), 1)
    with pytest.raises(
        ValueError, match="instance_bits, the exact pixels of a split to evaluate on"
    ):
        augment_batch(AugmentConfig(), draw, batch)


def test_aiming_brings_objects_near_the_size_of_an_anchor():
    rng = np.random.default_rng(0)
    batch = _batch_of_rectangles(rng, 40)
    config = AugmentConfig(anchor_sizes=(12.0,))
    draw = draw_augmentation(config, rng, 40)
    draw.aim[:, 0], draw.aim[:, 3] = 0.0, 0.5  # all of them, and exactly
    sizes = augment_batch(config, draw, batch)["boxes"][:, 0]
    np.testing.assert_allclose(np.sqrt((sizes[:, 2:] - sizes[:, :2]).prod(-1)), 12, atol=0.8)
    draw.aim[:, 0] = 0.9
    np.testing.assert_array_equal(augment_batch(config, draw, batch)["images"], batch["images"])


def test_small_objects_do_not_count():
    batch = {
        "images": np.zeros((1, 20, 20, 1), np.uint8),
        "boxes": np.array([[[0, 0, 3, 3], [5, 5, 9, 9], [2, 2, 4, 10]]], np.float32),
        "box_labels": np.array([[1, 2, -3]]),
    }
    config = AugmentConfig(smallest_box=4.0)
    draw = draw_augmentation(config, np.random.default_rng(0), 1)
    out = augment_batch(config, draw, batch)
    np.testing.assert_array_equal(out["box_labels"], [[-1, 2, -3]])
    np.testing.assert_array_equal(out["boxes"], batch["boxes"])
    with pytest.raises(ValueError, match="smallest_box is -1: give 0 or more pixels"):
        AugmentConfig(smallest_box=-1)


def test_new_draws_leave_those_of_before():
    first = draw_augmentation(AugmentConfig(flip=True), np.random.default_rng(1), 4)
    rng = np.random.default_rng(1)
    rng.integers(0, 1, 4), rng.integers(0, 1, 4)
    np.testing.assert_array_equal(first.flip, rng.random(4) < 0.5)


def test_boxes_and_reflected_borders():
    batch = _batch_of_rectangles(np.random.default_rng(0), 2)
    config = AugmentConfig(padding_mode="reflect", crop_padding=2)
    with pytest.raises(ValueError, match=r"repeats objects at the border.*: choose zero"):
        augment_batch(config, draw_augmentation(config, np.random.default_rng(0), 2), batch)
    for sizes in ((12.0, 6.0), (0.0,), (6.0, 6.0)):
        with pytest.raises(ValueError, match=r"anchor_sizes are .*: give rising numbers of pixels"):
            AugmentConfig(anchor_sizes=sizes)
    assert AugmentConfig(anchor_sizes=[6, 12]).anchor_sizes == (6, 12)
