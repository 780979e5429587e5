import numpy as np
import pytest

from attokit.zoo.anchors import anchor_boxes_xyxy


def test_anchors_are_those_by_hand():
    fine, coarse = anchor_boxes_xyxy(
        [(2, 3), (1, 2)], steps=[(8, 8), (16, 12)], sizes=(32, 64), ratios=(0.5, 1.0, 2.0)
    )
    assert (fine.shape, coarse.shape) == ((18, 4), (6, 4))
    # What torchvision prints for these sizes and ratios.
    shapes = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert np.array_equal(fine[:3], shapes)
    assert np.array_equal(fine[3:6], np.add(shapes, [8, 0, 8, 0]))
    assert np.array_equal(fine[9:12], np.add(shapes, [0, 8, 0, 8]))
    shapes = [[-45, -23, 45, 23], [-32, -32, 32, 32], [-23, -45, 23, 45]]
    assert np.array_equal(coarse[3:], np.add(shapes, [12, 0, 12, 0]))


def test_refuses_bad_numbers():
    with pytest.raises(ValueError, match=r"1 maps, anchor sizes \(32, 64\)"):
        anchor_boxes_xyxy([(2, 2)], steps=[(4, 4)], sizes=(32, 64), ratios=(1.0,))
    with pytest.raises(ValueError, match=r"ratios=\(0\.0,\)"):
        anchor_boxes_xyxy([(2, 2)], steps=[(4, 4)], sizes=(32,), ratios=(0.0,))
    with pytest.raises(ValueError, match=r"ratios=\(\)"):
        anchor_boxes_xyxy([(2, 2)], steps=[(4, 4)], sizes=(32,), ratios=())
