import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit

from attokit import zoo
from attokit.zoo.roi_align import assign_levels, pyramid_roi_align

SMALL, LARGE = (13, 17), (60, 40)  # cells for products, and for gathering
_plain = functools.partial(
    zoo.roi_align.roi_align, output_size=3, sampling_ratio=2, spatial_scale=0.25
)
_align = jit(_plain, static_argnames="aligned")


def _map(size, channels=3):
    return np.random.default_rng(size).normal(size=(*size, channels)).astype(np.float32)


def _boxes(size):
    """Returns boxes in pixels, four to a cell: inside, over every border, outside, of no size, turned around."""
    height, width = (4 * n for n in size)
    whole = [0, 0, width, height]
    cases = [
        whole,
        [-30, -20, width + 9, height + 40],
        [width - 7, height - 5, width, height],
        [
            width - 2,
            height - 2,
            width + 1,
            height + 2,
        ],  # samples between the last cell and the border
        [0, 0, 3, 2],
        [-3.9, -3.9, -0.1, -0.1],  # less than a cell away
        [-40, 5, -20, 15],
        [width + 8, height + 8, width + 30, height + 30],
        [10, 10, 10, 10],
        [20, 18, 8, 6],
        [5, 7, 5.5, 30],
    ]
    rng = np.random.default_rng(1)
    corner, side = rng.random((9, 2)) * [width, height], rng.random((9, 2)) * [width, height] / 2
    random = np.concatenate([corner - side / 2, corner + side / 2], 1)
    return np.concatenate([cases, random]).astype(np.float32)


def _read(features, y, x):
    """Returns the map at one point, by the rule of the papers' implementations."""
    height, width, channels = features.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(channels)
    y, x = max(y, 0), max(x, 0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = min(y, height - 1) - top, min(x, width - 1) - left
    upper = features[top, left] * (1 - dx) + features[top, right] * dx
    lower = features[bottom, left] * (1 - dx) + features[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def _by_loops(features, boxes, *, size, ratio, scale, aligned):
    features, out = features.astype(np.float64), []
    for box in boxes.astype(np.float64) * scale - (0.5 if aligned else 0):
        wide, high = box[2] - box[0], box[3] - box[1]
        if not aligned:
            wide, high = max(wide, 1), max(high, 1)
        bins = np.zeros((size, size, features.shape[2]))
        for i, j, a, b in np.ndindex(size, size, ratio, ratio):
            y = box[1] + (i + (a + 0.5) / ratio) * high / size
            x = box[0] + (j + (b + 0.5) / ratio) * wide / size
            bins[i, j] += _read(features, y, x) / ratio**2
        out.append(bins)
    return np.stack(out)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_is_the_loop_over_samples(size, aligned):
    features, boxes = _map(size), _boxes(size)
    got = _align(features, boxes, aligned=aligned)
    want = _by_loops(features, boxes, size=3, ratio=2, scale=0.25, aligned=aligned)
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert not np.any(want[6:8])  # outside
    assert np.all(np.any(want[2:6], axis=(1, 2, 3)))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_gradients_are_finite_and_those_of_a_linear_map(size):
    features, boxes = jnp.asarray(_map(size)), jnp.asarray(_boxes(size))

    def total(features, boxes):
        return jnp.sum(_plain(features, boxes, aligned=True) ** 2) / 2

    half, (of_features, of_boxes) = jit(jax.value_and_grad(total, (0, 1)))(features, boxes)
    # Regions are linear in the map, so <gradient, map> is twice the half square.
    np.testing.assert_allclose(np.sum(of_features * features), 2 * half, rtol=1e-4)
    assert np.all(np.isfinite(of_features))
    assert np.all(np.isfinite(of_boxes))
    assert np.any(of_boxes[0])


@pytest.mark.parametrize("sizes", [((12, 10), (6, 5)), ((50, 50), (25, 25))])
def test_every_box_reads_its_level(sizes):
    maps = [_map(size) for size in sizes]
    boxes = _boxes(sizes[0])
    levels = np.arange(len(boxes), dtype=np.int32) % 2
    options = {"output_size": 2, "sampling_ratio": 2, "aligned": True}
    got = pyramid_roi_align(maps, boxes, levels, spatial_scales=(0.25, 0.125), **options)
    for level, scale in enumerate((0.25, 0.125)):
        own = levels == level
        want = _by_loops(maps[level], boxes[own], size=2, ratio=2, scale=scale, aligned=True)
        np.testing.assert_allclose(got[own], want, atol=1e-5)


def test_levels_follow_the_size():
    sides = np.array([1, 111.9, 112, 223, 224, 447, 448, 5000], np.float32)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], 1)
    boxes = np.concatenate([boxes, [[5, 5, 5, 5], [9, 9, 2, 2]]]).astype(np.float32)
    got = assign_levels(jnp.asarray(boxes), count=4, canonical_size=224, canonical_level=2)
    assert np.array_equal(got, [0, 0, 1, 1, 2, 2, 3, 3, 0, 0])


def test_costs_nothing_as_interpolation_does():
    align = functools.partial(_plain, aligned=False)
    assert zoo.count_macs(align, jnp.zeros((*SMALL, 3)), jnp.zeros((5, 4))) == 0


def test_refuses_bad_numbers():
    features, boxes = jnp.zeros((4, 4, 1)), jnp.zeros((1, 4))
    options = {"output_size": 2, "sampling_ratio": 2, "aligned": True}
    with pytest.raises(ValueError, match="sampling_ratio=0"):
        zoo.roi_align.roi_align(
            features, boxes, spatial_scale=1.0, **options | {"sampling_ratio": 0}
        )
    with pytest.raises(ValueError, match=r"spatial scales \(0.0,\)"):
        zoo.roi_align.roi_align(features, boxes, spatial_scale=0.0, **options)
    with pytest.raises(ValueError, match="1 maps and 2 scales"):
        levels = jnp.zeros(1, jnp.int32)
        pyramid_roi_align((features,), boxes, levels, spatial_scales=(1.0, 0.5), **options)
