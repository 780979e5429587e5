import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.resize import resize

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5, 4)), jnp.float32)


def _by_hand(row, result):
    """Linear interpolation of one row of cells, centre by centre."""
    place = (np.arange(result) + 0.5) * len(row) / result - 0.5
    return np.interp(place, np.arange(len(row)), row)


@pytest.mark.parametrize("size", [(6, 10), (7, 11), (5, 5), (3, 9), (2, 3)])
def test_centres_lie_in_the_middle_of_cells(size):
    found = np.asarray(resize(X, size))
    rows = np.apply_along_axis(_by_hand, 1, np.asarray(X, np.float64), size[0])
    np.testing.assert_allclose(found, np.apply_along_axis(_by_hand, 2, rows, size[1]), atol=1e-5)


def test_the_same_size_is_left_alone_and_one_cell_is_spread():
    assert resize(X, (3, 5)) is X
    spread = resize(X[:, :1, :1], (4, 3))
    np.testing.assert_allclose(spread, jnp.broadcast_to(X[:, :1, :1], (2, 4, 3, 4)), atol=1e-6)


def test_it_commutes_with_pointwise_convolutions():
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(1, 1, 4, 6)), jnp.float32)
    before, after = (resize(zoo.conv(X, kernel), (7, 8)), zoo.conv(resize(X, (7, 8)), kernel))
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_it_counts_no_multiply_accumulates():
    assert zoo.count_macs(lambda x: resize(x, (12, 20)), X) == 0
