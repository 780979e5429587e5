import numpy as np
import pytest
from scipy import ndimage

from attokit.train.backgrounds import draw_background
from attokit.train.garments import load_garments
from attokit.train.scene_drawing import (
    DEFAULT,
    SceneConfig,
    _Canvas,
    _Patch,
    _transform,
    draw_scene,
)


@pytest.fixture(scope="module")
def garments():
    return load_garments("test")


def _draw(garments, /, seed=0, size=(48, 64), **options):
    return draw_scene(np.random.default_rng(seed), garments, size, SceneConfig(**options))


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (160, 40)])
@pytest.mark.parametrize(
    "options", [{}, {"garments": (9, 12), "rotation": 180.0}, {"max_cover": 0.9, "scale": (0.1, 1)}]
)
def test_annotations_agree(garments, size, options):
    for seed in range(8):
        scene = _draw(garments, seed, size, **options)
        count = len(scene.labels)
        assert scene.image.shape == (*size, 3)
        assert scene.image.dtype == scene.class_map.dtype == scene.instance_map.dtype == np.uint8
        assert (scene.boxes_xyxy.dtype, scene.labels.dtype) == (np.float32, np.int32)
        assert np.unique(scene.instance_map).tolist() in (
            [*range(count + 1)],
            [*range(1, count + 1)],
        )
        assert np.all((scene.labels >= 1) & (scene.labels <= 10))
        np.testing.assert_array_equal(
            scene.class_map, np.append(0, scene.labels)[scene.instance_map]
        )
        assert scene.boxes_xyxy.shape == (count, 4)
        for number, box in enumerate(scene.boxes_xyxy, 1):
            rows, columns = np.nonzero(scene.instance_map == number)
            extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert box.tolist() == list(extent)


def test_the_generator_decides(garments):
    first, again, other = (_draw(garments, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.instance_map, again.instance_map)
    assert np.any(first.image != other.image)


def test_what_is_no_garment_is_the_background(garments):
    scene = _draw(garments, 5, (64, 64), noise=0)
    rng = np.random.default_rng(5)
    shapes = int(rng.integers(DEFAULT.shapes[0], DEFAULT.shapes[1] + 1))
    background = np.moveaxis(draw_background(rng, (64, 64), shapes), 0, -1)
    # Edges blend over one pixel beside the map, along diagonals as well.
    outside = ~ndimage.binary_dilation(scene.instance_map > 0, np.ones((3, 3)), iterations=2)
    assert outside.mean() > 0.3
    np.testing.assert_array_equal(scene.image[outside], np.rint(background)[outside])
    inside = ndimage.binary_erosion(scene.instance_map > 0)
    changed = np.abs(scene.image[inside] - background[inside]).max(-1) > 8
    assert changed.mean() > 0.9


def test_noise_is_within_its_bound(garments):
    smooth, noisy = (_draw(garments, 5, noise=noise).image.astype(int) for noise in (0, 6))
    change = np.abs(smooth - noisy)
    assert 2 < change.mean() < 4
    assert change.max() <= 7  # 6 and the rounding


@pytest.mark.parametrize("max_cover", [0.0, 0.4, 0.9])
def test_no_more_is_hidden_than_allowed(max_cover):
    whole = np.ones((12, 10), bool)
    patch = _Patch(whole.view(np.uint8), whole.astype(np.float32), whole)
    rng = np.random.default_rng(0)
    canvas = _Canvas(np.zeros((3, 40, 50), np.float32), SceneConfig(max_cover=max_cover))
    for _ in range(40):
        canvas.try_to_paste(rng, patch, 3)
    scene = canvas.finish(rng)
    visible = np.bincount(scene.instance_map.ravel())[1:]
    assert 4 < len(visible) == len(scene.labels) < 40  # some were left out
    assert visible.min() >= (1 - max_cover) * whole.size
    assert visible.min() < (1 - max_cover) * whole.size + 24  # and the bound is used


def test_garments_have_the_size_that_was_asked(garments):
    options = {"garments": (1, 1), "rotation": 0.0, "max_cover": 0.0}
    for seed in range(10):
        (box,) = _draw(garments, seed, (100, 140), scale=(0.4, 0.5), **options).boxes_xyxy
        longer = max(box[2] - box[0], box[3] - box[1])
        assert 40 - 2 <= longer <= 50 + 2  # thin ends at the edge may fall below one half


def test_garments_are_visible(garments):
    for seed in range(20):
        scene = _draw(garments, seed, (64, 64), garments=(1, 1), contrast=100.0, noise=0)
        rng = np.random.default_rng(seed)
        shapes = int(rng.integers(DEFAULT.shapes[0], DEFAULT.shapes[1] + 1))
        background = np.moveaxis(draw_background(rng, (64, 64), shapes), 0, -1)
        mask = scene.instance_map == 1
        distance = np.linalg.norm(scene.image[mask].mean(0) - background[mask].mean(0))
        assert distance > 40  # chosen by means over the patch, not over the mask


def test_a_scene_may_be_empty(garments):
    scene = _draw(garments, garments=(0, 0))
    assert scene.boxes_xyxy.shape == (0, 4)
    assert scene.labels.shape == (0,)
    assert not scene.class_map.any()


def _patch(garments, **options):
    settings = {"longer_side": 50.0, "degrees": 0.0, "mirrored": False} | options
    return _transform(garments.pixels[7], garments.covers[7], **settings)


def test_mirroring_mirrors(garments):
    plain, mirrored = _patch(garments), _patch(garments, mirrored=True)
    assert np.mean(plain.mask[:, ::-1] != mirrored.mask) < 0.01  # ties at one half
    difference = plain.pixels[:, ::-1].astype(int) - mirrored.pixels
    assert np.abs(difference).max() <= 1


def test_a_quarter_turn_turns(garments):
    plain, turned = _patch(garments), _patch(garments, degrees=90.0)
    assert plain.mask.shape == turned.mask.shape[::-1]
    agreement = [np.mean(np.rot90(plain.mask, k) == turned.mask) for k in (1, 3)]
    assert max(agreement) > 0.98 > min(agreement)


@pytest.mark.parametrize("longer_side", [8.0, 20.0, 90.0])
def test_area_follows_the_scale(garments, longer_side):
    share = {
        side: _patch(garments, longer_side=side).mask.sum() / side**2
        for side in (40.0, longer_side)
    }
    np.testing.assert_allclose(share[longer_side], share[40.0], rtol=0.15)


def test_opacity_and_mask_tell_the_same(garments):
    patch = _patch(garments, degrees=10.0)
    np.testing.assert_array_equal(patch.mask, patch.opacity > 0.5)
    # One pixel wide: few pixels are neither in nor out.
    assert np.mean((patch.opacity > 0) & (patch.opacity < 1)) < 0.2


@pytest.mark.parametrize("size", [(31, 64), (64, 16), (64,), (64, 64, 3)])
def test_refuses_small_sizes(garments, size):
    with pytest.raises(ValueError, match="at least 32"):
        draw_scene(np.random.default_rng(0), garments, size)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"garments": (3, 2)}, r"garments of a scene is \(3, 2\): .* from 0 to 255"),
        ({"garments": (0, 256)}, "garments of a scene"),
        ({"garments": (1.5, 2)}, "two whole numbers"),
        ({"shapes": (-1, 2)}, "shapes of a scene"),
        ({"scale": (0.5, 1.5)}, "scale of a scene"),
        ({"scale": (0.01, 0.5)}, "scale of a scene"),
        ({"scale": (0.5,)}, "scale of a scene"),
        ({"rotation": -1.0}, "rotation of a scene is -1.0: give a number from 0 to 180"),
        ({"max_cover": 1.0}, "max_cover of a scene"),
        ({"contrast": float("nan")}, "contrast of a scene is nan"),
        ({"noise": 65}, "noise of a scene"),
    ],
)
def test_refuses_bad_settings(options, match):
    with pytest.raises(ValueError, match=match):
        SceneConfig(**options)
