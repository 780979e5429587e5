import warnings

import numpy as np
import pytest

from attokit.train.padded_boxes import BoxPadding, box_areas, check_boxes

BOXES = np.array([[0, 0, 2, 2], [1, 1, 9, 9], [0, 0, 3, 3], [5, 5, 5, 9]], np.float32)
LABELS = np.array([1, 2, -1, 1])


def test_areas():
    np.testing.assert_array_equal(box_areas(BOXES), [4, 64, 9, 0])
    assert box_areas(np.array([3.0, 3, 1, 1])) == 0  # not the product of two negative sides


def test_rows_are_filled_up_and_what_has_no_area_is_left_out():
    batch = BoxPadding(5, "x")(BOXES, LABELS)
    np.testing.assert_array_equal(batch["box_labels"], [1, 2, -1, 0, 0])
    np.testing.assert_array_equal(batch["boxes"][:3], BOXES[:3])
    np.testing.assert_array_equal(batch["boxes"][3:], 0)
    assert batch["boxes"].dtype == np.float32 and batch["box_labels"].dtype == np.int32
    empty = BoxPadding(2, "x")(np.zeros((0, 4)), np.zeros(0, int))
    np.testing.assert_array_equal(empty["box_labels"], [0, 0])


def test_the_largest_stay_in_their_order_and_that_is_told_once():
    padding = BoxPadding(2, "crowd")
    with pytest.warns(UserWarning, match="an image of crowd has 3 boxes, a batch holds the 2 larg"):
        batch = padding(BOXES, LABELS)
    np.testing.assert_array_equal(batch["box_labels"], [2, -1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        padding(BOXES, LABELS)
    with pytest.raises(ValueError, match="max_boxes is 0: give at least 1"):
        BoxPadding(0, "x")


def _batch(**changes):
    boxes = np.array([[[1, 2, 3, 4], [0, 0, 0, 0]]], np.float32)
    return {"images": np.zeros((1, 8, 8, 3), np.uint8), "boxes": boxes,
            "box_labels": np.array([[2, 0]], np.int32)} | changes  # fmt: skip


def test_good_batches_pass():
    check_boxes(_batch(), 3)
    check_boxes(_batch(box_labels=np.array([[-2, 0]])), 3)
    check_boxes(_batch(boxes=np.array([[[3, 3, 3, 3], [9, 9, 0, 0]]], np.float32)), 3)  # unused row
    check_boxes(_batch(boxes=np.full((1, 2, 4), np.nan), box_labels=np.zeros((1, 2), int)), 3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"box_labels": np.array([[3, 0]])}, r"box_labels hold 3, but .* 1 to 2"),
        ({"box_labels": np.array([[-3, 0]])}, "box_labels hold -3"),
        ({"box_labels": np.array([[1.0, 0]])}, "box_labels are float64"),
        ({"box_labels": np.array([[1]])}, r"boxes of shape \(1, 2, 4\) and box_labels of shape"),
        ({"boxes": np.zeros((1, 0, 4)), "box_labels": np.zeros((1, 0), int)}, "at least one row"),
        ({"boxes": np.array([[[5, 5, 3, 9], [0, 0, 0, 0]]])}, "which is no left, top, right"),
        ({"boxes": np.array([[[np.nan, 5, 6, 9], [0, 0, 0, 0]]])}, "none may be NaN"),
    ],
)
def test_bad_batches(changes, text):
    with pytest.raises(ValueError, match=text):
        check_boxes(_batch(**changes), 3)


def test_shares_are_no_pixels():
    shares = np.array([[[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]]], np.float32)
    with pytest.raises(ValueError, match=r"nothing above 1, which are shares .* multiply them"):
        check_boxes(_batch(boxes=shares, box_labels=np.array([[1, 2]])), 3)
    check_boxes(_batch(boxes=shares[:, ::-1], box_labels=np.array([[1, 0]])), 3)  # the first pixel


def test_batches_without_boxes():
    with pytest.raises(ValueError, match="images, but no boxes and no box_labels"):
        check_boxes({"images": np.zeros(1)}, 3)
