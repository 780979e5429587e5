import numpy as np
import pytest

from attokit.train.coco_masks import segmentation_mask
from attokit.train.mask_rle import encode_masks

SIZE = (20, 30)
SQUARE, TRIANGLE = [2, 3, 12, 3, 12, 13, 2, 13], [15, 2, 29, 2, 29, 18]


def test_polygons_are_united():
    mask = segmentation_mask([SQUARE, TRIANGLE], SIZE, "x")
    want = np.zeros(SIZE, bool)
    want[3:13, 2:12] = True
    np.testing.assert_array_equal(mask[:, :14], want[:, :14])
    assert mask[3, 25] and not mask[17, 16]
    assert mask.sum() == pytest.approx(100 + 14 * 16 / 2, rel=0.1)


def test_run_lengths_packed_and_plain():
    mask = np.random.default_rng(0).random(SIZE) < 0.3
    (packed,) = encode_masks(mask[None])
    for counts in (packed["counts"], packed["counts"].decode()):
        found = segmentation_mask({"size": list(SIZE), "counts": counts}, SIZE, "x")
        np.testing.assert_array_equal(found, mask)
    columns = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(columns)) + 1
    counts = np.diff([0, *edges, columns.size]).tolist()
    counts = [0, *counts] if columns[0] else counts
    found = segmentation_mask({"size": list(SIZE), "counts": counts}, SIZE, "x")
    np.testing.assert_array_equal(found, mask)


def test_polygons_of_too_few_corners_cover_nothing():
    for segmentation in ([], [[3, 4]], [[1, 1, 5, 5]]):
        assert not segmentation_mask(segmentation, SIZE, "x").any()
    with_line = segmentation_mask([[1, 1, 5, 5], SQUARE], SIZE, "x")
    np.testing.assert_array_equal(with_line, segmentation_mask([SQUARE], SIZE, "x"))
    flat = segmentation_mask([[2, 3, 12, 3, 7, 3]], SIZE, "x")  # three corners on one line
    assert not flat.any()


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        ([[1, 2, 3, 4, 5]], "annotation 5 has the polygon .*give x and y of every corner"),
        ([[1, 2, 3, 4, 5, float("nan")]], "has the polygon .*nan"),
        ([["a", 2, 3, 4, 5, 6]], "has the polygon"),
        ([1, 2, 3, 4, 5, 6], "has the polygon 1"),
        (None, "has a segmentation that is None: give polygons or run lengths"),
        ("mask", "has a segmentation that is 'mask'"),
        ({"size": [20, 30]}, "has run lengths .*give size and counts"),
        ({"size": [20, 31], "counts": [620]}, r"run lengths of \(20, 31\) pixels, its image has"),
        ({"size": [20, 30], "counts": [5, 9]}, "run lengths of 14 pixels in all"),
        ({"counts": [600]}, "annotation 5 has run lengths .*give size and counts"),
        ({"size": 20, "counts": [600]}, "annotation 5 has run lengths .*give size and counts"),
        (
            {"size": [20, 30], "counts": None, "id": 1},
            "annotation 5 has run lengths .*give size and",
        ),
        ({"rows": 20}, "annotation 5 has run lengths .*give size and counts"),
        ({"size": [20, 30], "counts": [-1, 601]}, "annotation 5 .*give whole numbers from 0 on"),
        ({"size": [20, 30], "counts": ["a", 3]}, "annotation 5 .*give whole numbers from 0 on"),
        ({"size": [20, 30], "counts": [1.5, 598.5]}, "annotation 5 .*give whole numbers from 0 on"),
        ({"size": [20, 30], "counts": []}, "run lengths of 0 pixels in all"),
        (
            {"size": [20, 30], "counts": ""},
            "annotation 5 has damaged run lengths .*correct the cou",
        ),
        ({"size": [20, 30], "counts": "abc"}, "annotation 5 has damaged run lengths .*malformed"),
        ({"size": [20, 30], "counts": b"zz"}, "annotation 5 has damaged run lengths"),
        ([[1e12, 1, 5, 5, 7, 7]], "annotation 5 has the polygon .*far outside of its image"),
    ],
)
def test_what_is_no_mask(segmentation, match):
    with pytest.raises(ValueError, match=match):
        segmentation_mask(segmentation, SIZE, "annotation 5")
