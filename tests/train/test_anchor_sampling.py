import numpy as np
import pytest

from attokit.train.anchor_sampling import aim_at_object

SIZES, IMAGE = (8.0, 16.0, 32.0, 64.0), (60, 80)
BOXES = np.array([[10, 20, 20, 30], [40, 10, 72, 42]], np.float32)


def test_half_of_the_images_are_left_alone_and_those_without_objects():
    shares = np.full(6, 0.4)
    assert aim_at_object(BOXES, IMAGE, SIZES, shares) is not None
    assert aim_at_object(BOXES, IMAGE, SIZES, np.array([0.5, *shares[1:]])) is None
    assert aim_at_object(BOXES[:0], IMAGE, SIZES, shares) is None
    assert aim_at_object(np.array([[5, 5, 5, 9]]), IMAGE, SIZES, shares) is None


def test_sizes_and_windows():
    rng = np.random.default_rng(0)
    targets = set()
    for _ in range(300):
        shares = rng.random(6) * [0.5, 1, 1, 1, 1, 1]
        aim = aim_at_object(BOXES, IMAGE, SIZES, shares)
        which = int(shares[1] * 2)
        side = (10, 32)[which]
        factor = 2 ** (2 * shares[3] - 1)
        assert 0.5 <= factor < 2
        target = aim.scale * side / factor
        targets.add((which, round(target)))
        # The object is whole in the window if it fits, and its middle in any case.
        left, top, right, bottom = BOXES[which] * aim.scale
        for low, high, start, length in (
            (left, right, aim.left, 80),
            (top, bottom, aim.top, 60),
        ):
            assert start - 0.5 <= (low + high) / 2 <= start + length + 0.5
            if high - low <= length:
                assert low >= start - 0.5 and high <= start + length + 0.5
    # The nearest anchors are 8 and 32; at most one larger is aimed at.
    assert targets == {(0, 8), (0, 16), (1, 8), (1, 16), (1, 32), (1, 64)}


def test_scales_have_a_bound():
    tiny = np.array([[5, 5, 5.01, 5.01]])
    assert aim_at_object(tiny, IMAGE, SIZES, np.array([0, 0, 0.9, 0.99, 0, 0])).scale == 16
    huge = np.array([[0, 0, 9000, 9000]])
    assert aim_at_object(huge, IMAGE, SIZES, np.zeros(6)).scale == pytest.approx(1 / 16)
