import jax
import numpy as np
import pytest
from traced import jit, normal, variables_of

from attokit.zoo.spatial_conv import SpatialConv


def _correlate(x, kernel):
    """Returns the sum over taps of shifted images, [b, h, w, cin] with [3, 3, cin, cout]."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, i : i + h, j : j + w] @ kernel[i, j] for i, j in np.ndindex(3, 3))


def test_separable_is_dense_of_a_product_of_kernels():
    x = normal(2, 4, 5, 3)
    module = SpatialConv(6, "separable", activation="none")
    variables = variables_of(module, x)
    params = jax.tree.map(np.asarray, variables["params"])
    kernel = np.einsum(
        "ijoc,abcd->ijcd", params["depthwise"]["kernel"], params["pointwise"]["kernel"]
    )
    want = _correlate(np.asarray(x), kernel) + params["pointwise"]["bias"]
    np.testing.assert_allclose(jit(module.apply)(variables, x), want, atol=1e-4)
    dense = {"params": {"conv": {"kernel": kernel, "bias": params["pointwise"]["bias"]}}}
    got = jit(SpatialConv(6).apply)(dense, x)
    np.testing.assert_allclose(got, np.maximum(want, 0), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "norms"), [("dense", {"conv"}), ("separable", {"depthwise", "pointwise"})]
)
def test_norms_take_the_place_of_the_bias(kind, norms):
    shapes = jax.eval_shape(SpatialConv(6, kind, True).init, jax.random.key(0), normal(1, 4, 4, 3))
    assert set(shapes["batch_stats"]) == norms
    assert "bias" not in shapes["params"][max(norms)]["conv"]
