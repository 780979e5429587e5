import jax.numpy as jnp
import numpy as np
import pytest

from attokit.quant.ops import activation

X = jnp.float32([-3, -0.5, 0, 0.5, 3, 9])


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("none", [-3, -0.5, 0, 0.5, 3, 9]),
        ("relu", [0, 0, 0, 0.5, 3, 9]),
        ("relu6", [0, 0, 0, 0.5, 3, 6]),
        ("relu_n1_to_1", [-1, -0.5, 0, 0.5, 1, 1]),
    ],
)
def test_apply_clips_to_the_real_bounds(name, want):
    np.testing.assert_array_equal(activation.apply(name, X), np.float32(want))
    np.testing.assert_array_equal(jnp.clip(X, *activation.real_bounds(name)), np.float32(want))


@pytest.mark.parametrize(
    ("name", "scale", "zero_point", "want"),
    [
        ("none", 0.1, 3, (-131, 124)),
        ("relu", 0.1, 3, (0, 124)),
        ("relu6", 0.1, -128, (0, 60)),
        ("relu6", 0.01, -128, (0, 255)),  # six lies beyond int8
        ("relu6", 4.0, 0, (0, 2)),  # 1.5 rounds away from zero
        ("relu_n1_to_1", 0.4, 0, (-3, 3)),  # 2.5 as well
    ],
)
def test_centred_bounds(name, scale, zero_point, want):
    bounds = activation.real_bounds(name)
    got = activation.centred_bounds(bounds, jnp.float32(scale), jnp.float32(zero_point))
    assert tuple(map(float, got)) == want
