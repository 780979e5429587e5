import functools

import numpy as np
import pytest
from traced import jit

from attokit.train.mask_targets import compact_instances, compact_mask, cut_picture, mask_targets

_targets = jit(
    functools.partial(mask_targets, output_size=6, sampling_ratio=2),
)


def test_pictures_hold_the_covered_share():
    mask = np.random.default_rng(0).random((20, 24)) < 0.5
    box = np.array([2, 3, 14, 11], np.float32)
    exact = compact_mask(mask, box, 4)  # cells of 2 rows and 3 columns
    want = mask[3:11, 2:14].reshape(4, 2, 4, 3).mean((1, 3))
    np.testing.assert_allclose(exact / 255, want, atol=0.5 / 255)
    # Cells between pixels: 40 fine pixels to one make the same picture.
    box = np.array([1.35, 2.5, 9.1, 13.25], np.float32)
    fine = mask.repeat(40, 0).repeat(40, 1)
    want = compact_mask(fine, box * 40, 7)
    assert np.abs(compact_mask(mask, box, 7).astype(int) - want).max() <= 1


def test_rows_of_instances():
    instances = np.zeros((8, 8), np.uint8)
    instances[1:4, 2:6], instances[5:7, 0:3] = 1, 2
    boxes = np.array([[2, 1, 6, 4], [0, 4, 3, 8], [0, 0, 0, 0]], np.float32)
    pictures = compact_instances(instances, boxes, 4)
    assert np.all(pictures[0] == 255)
    assert np.array_equal(pictures[1], np.array([[0] * 4, [255] * 4, [255] * 4, [0] * 4]))
    assert not np.any(pictures[2])


def _by_loops(picture, box, region):
    """Returns the means of four samples per cell of a picture in a frame of zeros."""
    framed, m = np.pad(picture / 255, 2), len(picture)
    scale, out = (box[2:] - box[:2]) / m, np.zeros((6, 6))
    for i, j, a, b in np.ndindex(6, 6, 2, 2):
        y = region[1] + (i + (a + 0.5) / 2) * (region[3] - region[1]) / 6
        x = region[0] + (j + (b + 0.5) / 2) * (region[2] - region[0]) / 6
        v, u = (y - box[1]) / scale[1] + 1.5, (x - box[0]) / scale[0] + 1.5
        if 0 <= v <= m + 2 and 0 <= u <= m + 2:
            top, left = int(v), int(u)
            dv, du = v - top, u - left
            corners = framed[top : top + 2, left : left + 2]
            out[i, j] += np.array([1 - dv, dv]) @ corners @ np.array([1 - du, du]) / 4
    return out


def test_regions_read_the_picture_of_their_object():
    rng = np.random.default_rng(1)
    masks = rng.integers(0, 256, (2, 9, 9)).astype(np.uint8)
    boxes = np.array([[10, 10, 40, 28], [5, 30, 25, 60]], np.float32)
    regions = np.array(
        [[10, 10, 40, 28], [0, 0, 30, 30], [12, 35, 20, 80], [50, 50, 60, 60], [20, 20, 20, 20]],
        np.float32,
    )
    rows = np.array([0, 0, 1, 1, 0], np.int32)
    got = _targets(masks, boxes, regions, rows)
    for region, row, target in zip(regions, rows, got, strict=True):
        np.testing.assert_allclose(target, _by_loops(masks[row], boxes[row], region), atol=1e-5)
    assert not np.any(got[3])


def test_the_box_itself_reads_its_picture():
    masks = np.random.default_rng(2).integers(0, 256, (1, 6, 6)).astype(np.uint8)
    box = np.array([[3, 4, 21, 40]], np.float32)
    plain = jit(functools.partial(mask_targets, output_size=6, sampling_ratio=1))
    got = plain(masks, box, box, np.zeros(1, np.int32))
    np.testing.assert_allclose(got, masks / 255, atol=1e-5)


def test_padding_gives_finite_targets():
    nothing = np.zeros((1, 4), np.float32)
    got = _targets(np.zeros((1, 9, 9), np.uint8), nothing, nothing, np.zeros(1, np.int32))
    assert not np.any(got)


def test_refuses_boxes_without_pixels():
    mask = np.ones((4, 4), bool)
    with pytest.raises(ValueError, match=r"of the box \[1\.0, 1\.0, 1\.0, 3\.0\]"):
        compact_mask(mask, np.array([1, 1, 1, 3], np.float32), 4)
    with pytest.raises(ValueError, match="a picture of 0 cells"):
        compact_mask(mask, np.array([1, 1, 2, 3], np.float32), 0)


def test_a_part_of_a_picture_is_the_picture_of_a_part():
    y, x = np.mgrid[:40, :60] + 0.5
    mask = ((x - 30) / 22) ** 2 + ((y - 20) / 15) ** 2 < 1
    box, part = np.array([[8, 5, 52, 35], [19.5, 5, 52, 24.2]], np.float32)
    cut = cut_picture(compact_mask(mask, box, 56), box, part)
    exact = compact_mask(mask, part, 56)
    assert np.mean(np.abs(cut.astype(int) - exact)) < 4  # of 255: borders between cells
    assert np.array_equal(cut_picture(exact, part, part), exact)
