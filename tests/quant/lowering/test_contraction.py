import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from traced import error, kinds, normal

from attokit import quant
from attokit.quant.lowering.contraction import (
    padding_name,
    read_padding,
    resolve_padding,
    same_padding,
)
from attokit.quant.lowering.values import Builder, Symbol

IMAGES = Symbol((1, 7, 6, 3), np.dtype("float32"))


def test_same_padding_puts_the_odd_one_after():
    assert same_padding((7, 6, 4), (3, 3, 1), (2, 2, 2)) == ((1, 1), (0, 1), (0, 0))


@pytest.mark.parametrize(
    ("padding", "want", "emitted"),
    [
        (((0, 0), (0, 0)), "VALID", []),
        (((1, 1), (0, 1)), "SAME", []),
        (((1, 2), (0, 2)), "SAME", []),  # the last column and row are behind the last window
        (((0, 1), (0, 0)), "VALID", []),
        (((1, 1), (1, 1)), "VALID", ["pad"]),
    ],
)
def test_padding_is_named_or_explicit(padding, want, emitted):
    build = Builder()
    images, name = resolve_padding(build, IMAGES, padding, (3, 3), (2, 2))
    assert name == want
    assert [node.kind for node in build.nodes] == emitted
    assert images.shape[1:3] == ((9, 7) if emitted else (7, 6))


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "read"),
    [
        (32, 3, 2, (1, 1), (1, 0)),
        (33, 3, 2, (1, 1), (1, 1)),
        (32, 3, 2, (0, 2), (0, 1)),
        (7, 2, 3, (0, 2), (0, 1)),
        (2, 5, 1, (1, 1), (1, 1)),  # no window fits
        (8, 3, 2, (-1, 0), (-1, 0)),
        (9, 3, 4, (0, -1), (0, -1)),
    ],
)
def test_what_lies_behind_the_last_window_is_not_padded(size, window, stride, padding, read):
    assert read_padding((size,), (window,), (stride,), (padding,)) == (read,)
    before, after = (size + sum(given) - window for given in (padding, read))
    assert before < 0 or before // stride == after // stride  # as many windows


def test_a_padding_has_a_name_if_windows_read_what_it_pads():
    assert padding_name((8, 8), (3, 3), (2, 2), ((0, 1), (0, 1))) == "SAME"
    assert padding_name((8, 8), (3, 3), (2, 2), ((1, 0), (1, 0))) is None
    assert padding_name((8, 8), (3, 3), (2, 2), ((0, 0), (0, 0))) == "VALID"


def test_negative_padding_cuts():
    build = Builder()
    images, padding = resolve_padding(build, IMAGES, ((-1, 0), (0, 1)), (3, 3), (1, 1))
    assert padding == "VALID"
    assert [node.kind for node in build.nodes] == ["slice", "pad"]
    assert images.shape[1:3] == (IMAGES.shape[1] - 1, IMAGES.shape[2] + 1)


def _conv(**options):
    numbers = options.pop("dimension_numbers", ("NHWC", "HWIO", "NHWC"))
    padding = ((1, 1), (1, 1))
    return lambda v, x: jax.lax.conv_general_dilated(
        x, v, (1, 1), padding, dimension_numbers=numbers, **options
    )


def test_other_layouts_are_transposed():
    function = _conv(dimension_numbers=("NCHW", "OIHW", "NCHW"))
    v, x = normal(5, 3, 3, 3), normal(2, 3, 6, 5)
    graph, weights = quant.trace(function, v, x)
    assert kinds(graph) == ["transpose", "conv_2d", "transpose"]
    assert weights["weight"].shape == (3, 3, 3, 5)
    assert error(graph, weights, function, v, x) < 1e-5


@pytest.mark.parametrize(
    ("function", "v", "x", "match"),
    [
        (lambda _, x: jax.lax.conv(x, x, (1, 1), "SAME"), (), (3, 3, 3, 3), "depends on the inp"),
        (
            lambda v, x: jax.lax.conv_general_dilated(
                x,
                v,
                (1, 1),
                ((0, 0), (0, 0)),
                lhs_dilation=(2, 2),
                rhs_dilation=(2, 1),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            ),
            (3, 3, 3, 4),
            (1, 5, 5, 3),
            r"kernel dilated by \(2, 1\)",
        ),
        (
            lambda v, x: jax.lax.conv(x, v, (1, 1, 1), "SAME"),
            (4, 3, 2, 2, 2),
            (1, 3, 4, 4, 4),
            "3 axes",
        ),
        (
            _conv(batch_group_count=2),
            (3, 3, 3, 4),
            (2, 5, 5, 3),
            "batch_group_count=2",
        ),
    ],
)
def test_what_tflite_cannot_contract_is_refused(function, v, x, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(function, normal(*v), normal(*x))


def _conv_transpose(strides, padding, **options):
    return lambda v, x: jax.lax.conv_transpose(x, v, strides, padding, **options)


def _dilated_images(padding, groups=1):
    return lambda v, x: jax.lax.conv_general_dilated(
        x,
        v,
        (1, 1),
        padding,
        lhs_dilation=(2, 3),
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize(
    ("function", "kernel", "want"),
    [
        (_conv_transpose((2, 2), "SAME"), (3, 3, 3, 5), ["transpose_conv"]),
        (_conv_transpose((2, 2), "VALID"), (4, 3, 3, 5), ["transpose_conv"]),
        (_conv_transpose((3, 2), "SAME"), (2, 1, 3, 5), ["transpose_conv"]),
        (_conv_transpose((2, 1), "SAME", transpose_kernel=True), (3, 3, 5, 3), ["transpose_conv"]),
        (_dilated_images(((1, 2), (2, 0))), (3, 3, 3, 4), ["transpose_conv"]),
        (_dilated_images(((0, -1), (-1, 0))), (3, 3, 3, 4), ["transpose_conv"]),
        (_dilated_images(((5, 0), (0, 9))), (3, 3, 3, 4), ["pad", "transpose_conv"]),
        (
            _dilated_images(((2, 2), (2, 2)), groups=3),
            (4, 4, 1, 6),
            ["slice", "transpose_conv"] * 3 + ["concatenation"],
        ),
    ],
)
def test_transposed_convolutions_are_one_op(function, kernel, want):
    v, x = normal(*kernel), normal(2, 4, 5, 3)
    graph, weights = quant.trace(function, v, x)
    assert kinds(graph) == want
    assert error(graph, weights, function, v, x) < 1e-5


@pytest.mark.parametrize("module", [nn.ConvTranspose, nnx.ConvTranspose])
def test_flax_modules_and_their_norms_are_one_op(module):
    x = normal(2, 4, 4, 3)
    scale, shift = normal(6), normal(6, seed=1)
    if module is nn.ConvTranspose:
        layer = module(6, (3, 3), strides=(2, 2))
        variables = layer.init(jax.random.key(0), x)
        apply = layer.apply
    else:
        apply, variables = _functional(module(3, 6, (3, 3), strides=(2, 2), rngs=nnx.Rngs(0)))

    def function(v, x):
        return nn.relu(apply(v, x) * scale.reshape(1, 1, 1, -1) - shift.reshape(1, 1, 1, -1))

    graph, weights = quant.trace(function, variables, x)
    assert kinds(graph) == ["transpose_conv", "relu"]
    assert error(graph, weights, function, variables, x) < 1e-5


def _functional(module):
    definition, state = nnx.split(module)
    return (lambda state, x: nnx.merge(definition, state)(x)), state


@pytest.mark.parametrize(
    ("options", "kernel", "want"),
    [
        ({"padding": "SAME"}, (3, 4, 6), "conv_2d"),
        ({"padding": "CAUSAL", "kernel_dilation": 2}, (3, 4, 6), "conv_2d"),
        ({"padding": "VALID", "strides": 2}, (4, 4, 6), "conv_2d"),
        ({"feature_group_count": 2}, (3, 2, 6), "conv_2d"),
        ({"feature_group_count": 4}, (3, 1, 4), "depthwise_conv_2d"),
    ],
)
def test_signals_are_images_of_one_row(options, kernel, want):
    layer = nn.Conv(kernel[-1], kernel[:1], **options)
    v, x = {"params": {"kernel": normal(*kernel), "bias": normal(kernel[-1])}}, normal(2, 9, 4)

    def function(v, x):
        return nn.relu(layer.apply(v, x))

    graph, weights = quant.trace(function, v, x)
    assert [k for k in kinds(graph) if k not in ("reshape", "pad")] == [f"{want}+relu"]
    assert set(weights) == {"kernel", "bias"}
    assert error(graph, weights, function, v, x) < 1e-5


def test_signals_are_convolved_with_channels_first_and_transposed():
    def function(v, x):
        return jax.lax.conv_general_dilated(x, v, (1,), [(2, 2)], lhs_dilation=(2,))

    v, x = normal(5, 3, 4), normal(2, 3, 7)
    graph, weights = quant.trace(function, v, x)
    assert "transpose_conv" in kinds(graph)
    assert error(graph, weights, function, v, x) < 1e-5


@pytest.mark.parametrize("in_axes", [(None, 0), (-1, 0)])
def test_kernels_of_several_members_are_one_convolution(in_axes):
    def function(v, x):
        x = x if in_axes[0] is None else x.reshape(*x.shape[:3], 2, 2)
        return jax.vmap(_convolved, in_axes)(x, v)

    channels = 4 if in_axes[0] is None else 2
    v = normal(2, 3, 3, channels, 5)
    graph, weights = quant.trace(function, v, normal(2, 6, 6, 4))
    assert kinds(graph).count("conv_2d") == 1
    assert error(graph, weights, function, v, normal(3, 6, 6, 4)) < 1e-6


def _convolved(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
