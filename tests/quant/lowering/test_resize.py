import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 4, 6, 3)
_DENSE = ["transpose", "fully_connected", "transpose"]


def _resized(*size, method="bilinear", antialias=True):
    return lambda x: jax.image.resize(x, (len(x), *size), method, antialias=antialias)


def _matrix(size, result):
    place = np.arange(result) * (size - 1) / (result - 1)
    return np.maximum(0, 1 - np.abs(place - np.arange(size)[:, None])).astype(np.float32)


def _aligned(x):
    return jnp.einsum("bhwc,hy,xw->byxc", x, _matrix(4, 7), _matrix(6, 3).T)


def _translated(x):
    scale = jnp.asarray([6 / 3, 10 / 5])
    return jax.image.scale_and_translate(
        x, (2, 7, 11, 3), (1, 2), scale, 0.5 - 0.5 * scale, "linear", antialias=False
    )


@pytest.mark.parametrize(
    ("function", "want", "mode"),
    [
        (_resized(8, 12, 3), ["resize_bilinear"], "half_pixel"),
        (_resized(7, 13, 3, method="linear"), ["resize_bilinear"], "half_pixel"),
        (_resized(3, 4, 3, antialias=False), ["resize_bilinear"], "half_pixel"),
        (_resized(8, 6, 3), ["resize_bilinear"], "half_pixel"),
        (_resized(4, 12, 6), ["transpose", "resize_bilinear", "transpose"], "half_pixel"),
        (_aligned, ["resize_bilinear"], "align_corners"),
        (_translated, ["resize_bilinear"], "align_corners"),
        (_resized(8, 6, 3, method="cubic"), _DENSE, None),
        (_resized(2, 6, 3), _DENSE, None),
    ],
)
def test_interpolation_is_one_resize(function, want, mode):
    graph, weights = quant.trace(lambda _, x: function(x), (), X)
    assert kinds(graph) == want
    assert [op["mode"] for op in graph.ops if op.kind == "resize_bilinear"] == [mode] * bool(mode)
    assert error(graph, weights, lambda _, x: function(x), (), X) < 1e-5


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (2, 1, 4, 3)])
def test_a_single_row_or_cell_is_resized_too(shape):
    def by_axis(_, x):
        return _resized(5, 7, 3)(_resized(5, shape[2], 3)(x))

    graph, weights = quant.trace(by_axis, (), normal(*shape))
    assert kinds(graph) == ["resize_bilinear"]
    assert error(graph, weights, by_axis, (), normal(*shape)) < 1e-5


def test_signals_are_resized_as_images_of_one_column():
    x = normal(2, 5, 3)
    graph, weights = quant.trace(lambda _, x: _resized(8, 3)(x), (), x)
    assert kinds(graph) == ["reshape", "resize_bilinear", "reshape"]
    assert error(graph, weights, lambda _, x: _resized(8, 3)(x), (), normal(3, 5, 3)) < 1e-5


def test_the_batch_may_grow():
    graph, weights = quant.trace(lambda _, x: _resized(8, 12, 3)(x), (), X)
    assert error(graph, weights, lambda _, x: _resized(8, 12, 3)(x), (), normal(5, 4, 6, 3)) < 1e-5


@pytest.mark.parametrize("shape", [(8, 9, 3), (8, 6, 3)])
def test_an_image_needs_no_batch(shape):
    def function(_, x):
        return jax.image.resize(x, shape, "bilinear")

    graph, weights = quant.trace(function, (), X[0])
    assert kinds(graph) == ["reshape", "resize_bilinear", "reshape"]
    assert error(graph, weights, function, (), X[0]) < 1e-5


def test_a_weight_is_no_interpolation_whatever_its_values():
    graph, _ = quant.trace(lambda v, x: jnp.einsum("bhwc,wx->bhxc", x, v), _matrix(6, 9), X)
    assert "resize_bilinear" not in kinds(graph)
