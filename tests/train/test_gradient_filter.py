import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.forward import flax_forward, split_variables
from attokit.train.gradient_filter import filter_gradients, filtered_conv
from attokit.zoo.convolution import Conv, conv

SLOW = pytest.mark.slow


def _problem(*, side=8, kernel=1, cin=4, cout=6, groups=1, seed=0, **window):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    x, taps = normal(2, side, side, cin), normal(kernel, kernel, cin // groups, cout)
    convolve = functools.partial(conv, groups=groups, **window)
    return convolve, x, taps, normal(*jax.eval_shape(convolve, x, taps).shape)


def _gradients(convolve, x, taps, cotangent, patch=None, groups=1, strides=1):
    function = convolve
    if patch is not None:
        options = {"patch": patch, "groups": groups, "strides": strides}
        function = functools.partial(filtered_conv, convolve, **options)

    @jax.jit
    def both(x, taps, cotangent):
        y, pullback = jax.vjp(function, x, taps)
        return y, *pullback(cotangent)

    return both(x, taps, cotangent)


@SLOW
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_pixels_as_patches_of_a_pointwise_kernel_give_the_true_gradient(groups):
    cout = 8 if groups == 4 else 6
    problem = _problem(groups=groups, cout=cout)
    for found, true in zip(_gradients(*problem, 1, groups), _gradients(*problem), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("patch", "side"),
    [(2, 7), (4, 7), *(pytest.param(*case, marks=SLOW) for case in [(2, 8), (3, 5)])],
)
def test_a_cotangent_that_is_constant_in_patches_gives_the_true_gradient(patch, side):
    convolve, x, taps, cotangent = _problem(side=side)
    blocks = cotangent[:, ::patch, ::patch]
    cotangent = jnp.repeat(jnp.repeat(blocks, patch, 1), patch, 2)[:, :side, :side]
    filtered = _gradients(convolve, x, taps, cotangent, patch)
    _, of_x, of_taps = _gradients(convolve, x, taps, cotangent)
    np.testing.assert_allclose(filtered[2], of_taps, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(filtered[1], of_x, rtol=1e-4, atol=1e-4)


@SLOW
@pytest.mark.parametrize(
    ("window", "places"),
    [
        ({}, [(0, 2), (2, 4), (4, 6), (6, 7)]),
        ({"strides": 2}, [(0, 4), (4, 7)]),
        ({"padding": "VALID"}, [(1, 3), (3, 5), (5, 7)]),  # the first window's centre is pixel 1
        ({"dilation": 2}, [(0, 2), (2, 4), (4, 6), (6, 7)]),
    ],
)
def test_by_the_definition(window, places):
    """Against loops over patches of 2x2 and their places in the input, for kernels of 3x3."""
    convolve, x, taps, cotangent = _problem(side=7, kernel=3, **window)
    patch = 2
    strides = window.get("strides", 1)
    _, of_x, of_taps = _gradients(convolve, x, taps, cotangent, patch, strides=strides)
    expected_x, summed = np.zeros(x.shape), np.zeros((4, 6))
    for n in range(2):
        for i, top in enumerate(places):
            for j, left in enumerate(places):
                rows, columns = slice(*top), slice(*left)
                own = np.asarray(cotangent)[
                    n, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch
                ]
                mean = own.mean((0, 1))
                expected_x[n, rows, columns] = np.asarray(taps).sum((0, 1)) @ mean
                summed += np.outer(np.asarray(x)[n, rows, columns].sum((0, 1)), mean)
    np.testing.assert_allclose(of_x, expected_x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_taps, np.broadcast_to(summed, (3, 3, 4, 6)), rtol=1e-4, atol=1e-4)


def test_what_is_kept_is_smaller_by_the_square_of_the_patch():
    convolve, x, taps, _ = _problem(side=8, kernel=3)
    _, kept = jax.vjp(functools.partial(filtered_conv, convolve, patch=4), x, taps)
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(kept))
    assert sizes == [x.size // 16, taps.size]


class _Network(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.relu(Conv(6, 3, name="first")(x))
        return Conv(3, 1, use_bias=True, name="last")(x).mean((1, 2))


def test_layers_are_chosen_by_path():
    model, x = _Network(), jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    params, state = split_variables(model.init(jax.random.key(1), x))
    key = jax.random.key(0)

    def gradients(forward):
        def loss(params):
            outputs, _ = forward(params, state, x, train=True, key=key)
            return jnp.square(outputs).sum(), outputs

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    true, outputs = gradients(flax_forward(model))
    filtered, same = gradients(filter_gradients(flax_forward(model), ("last",), 4))
    np.testing.assert_array_equal(same, outputs)
    # The mean's cotangent is the same everywhere, so the gradient of the last layer is exact.
    np.testing.assert_allclose(filtered["last"]["kernel"], true["last"]["kernel"], rtol=1e-4)
    np.testing.assert_allclose(filtered["last"]["bias"], true["last"]["bias"], rtol=1e-5)
    filtered, _ = gradients(filter_gradients(flax_forward(model), ("f*",), 2))
    assert np.ptp(filtered["first"]["kernel"], (0, 1)).max() == 0  # one number for all taps
    assert np.ptp(true["first"]["kernel"], (0, 1)).max() > 0
    with pytest.raises(ValueError, match=r"like 'middle'.*there are first, last"):
        gradients(filter_gradients(flax_forward(model), ("middle",), 2))
