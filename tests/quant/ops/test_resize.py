import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import largest_difference
from single_op import Case

from attokit.quant.ops import resize


def _resized(size, method):
    return lambda _, x: jax.image.resize(x, (2, *size, 4), method, antialias=False)


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
@pytest.mark.parametrize("size", [(14, 12), (9, 5)])
def test_bilinear_integers_equal_the_kernels_formula(size, kernels):
    assert largest_difference(Case("resize_bilinear", _resized(size, "bilinear")), kernels) == 0


@pytest.mark.parametrize("size", [(14, 12), (9, 5)])
def test_nearest_integers_are_moved(size):
    case = Case("resize_nearest_neighbor", _resized(size, "nearest"))
    assert largest_difference(case, "reference") == 0


@pytest.mark.parametrize("mode", resize.MODES)
@pytest.mark.parametrize(("size", "result"), [(4, 8), (7, 3), (5, 5), (3, 1)])
def test_interpolation_weighs_neighbours(size, result, mode):
    matrix = resize.interpolation(size, result, mode)
    np.testing.assert_allclose(matrix.sum(axis=0), 1)
    assert ((matrix > 0).sum(axis=0) <= 2).all()
    if size == result:
        np.testing.assert_array_equal(matrix, np.eye(size))


def test_modes_place_centres_as_documented():
    np.testing.assert_array_equal(resize.nearest(2, 4, "half_pixel"), [0, 0, 1, 1])
    np.testing.assert_array_equal(resize.nearest(4, 2, "half_pixel"), [1, 3])
    np.testing.assert_array_equal(resize.nearest(4, 2, "legacy"), [0, 2])
    np.testing.assert_array_equal(resize.nearest(4, 2, "align_corners"), [0, 3])
    image = jnp.asarray([0.0, 2.0])
    np.testing.assert_allclose(image @ resize.interpolation(2, 4, "half_pixel"), [0, 0.5, 1.5, 2])
    np.testing.assert_allclose(image @ resize.interpolation(2, 4, "legacy"), [0, 1, 2, 2])
    np.testing.assert_allclose(
        image @ resize.interpolation(2, 5, "align_corners"), [0, 0.5, 1, 1.5, 2]
    )
