import numpy as np

from attokit.export.distance import distance


def test_what_is_the_same_is_not_apart():
    one = np.float32([1, np.inf, -np.inf, np.nan, np.nan, np.inf])
    other = np.float32([3, np.inf, -np.inf, np.nan, 0, -np.inf])
    found = distance(one, other)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [2, 0, 0, 0, np.nan, np.inf])
