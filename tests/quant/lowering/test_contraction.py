import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.quant.lowering.contraction import resolve_padding, same_padding
from attokit.quant.lowering.values import Builder, Symbol

IMAGES = Symbol((1, 7, 6, 3), np.dtype("float32"))


def test_same_padding_puts_the_odd_one_after():
    assert same_padding((7, 6, 4), (3, 3, 1), (2, 2, 2)) == ((1, 1), (0, 1), (0, 0))


@pytest.mark.parametrize(
    ("padding", "want", "emitted"),
    [
        (((0, 0), (0, 0)), "VALID", []),
        (((1, 1), (0, 1)), "SAME", []),
        (((1, 1), (1, 1)), "VALID", ["pad"]),
    ],
)
def test_padding_is_named_or_explicit(padding, want, emitted):
    build = Builder()
    images, name = resolve_padding(build, IMAGES, padding, (3, 3), (2, 2))
    assert name == want
    assert [node.kind for node in build.nodes] == emitted
    assert images.shape[1:3] == ((9, 8) if emitted else (7, 6))


def test_negative_padding_is_refused():
    with pytest.raises(quant.UnsupportedOpError, match="negative padding"):
        resolve_padding(Builder(), IMAGES, ((-1, 0), (0, 0)), (3, 3), (1, 1))


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
        (_conv(lhs_dilation=(2, 2)), (3, 3, 3, 4), (1, 5, 5, 3), "transposed convolution"),
        (
            _conv(batch_group_count=2),
            (3, 3, 3, 4),
            (2, 5, 5, 3),
            "batch_group_count=2",
        ),
        (lambda v, x: x @ v, (3, 2), (3,), "matrix product of shapes"),
        (lambda _, x: x @ x, (), (3, 3), "both depend on the inputs"),
    ],
)
def test_what_tflite_cannot_contract_is_refused(function, v, x, match):
    with pytest.raises(quant.UnsupportedOpError, match=match):
        quant.trace(function, normal(*v), normal(*x))


@pytest.mark.parametrize("spec", ["bij,jk->bik", "bij,kj->bik", "bij,ik->bjk", "kj,bij->kbi"])
def test_products_over_any_axis_become_dense_layers(spec):
    left, right = spec.split("->")[0].split(",")
    sizes = {"b": 2, "i": 4, "j": 3, "k": 5}
    weight_first = left == "kj"
    v = normal(*(sizes[c] for c in (left if weight_first else right)))
    x = normal(*(sizes[c] for c in (right if weight_first else left)))

    def function(v, x):
        return jnp.einsum(spec, *((v, x) if weight_first else (x, v)))

    graph, weights = quant.trace(function, v, x)
    assert "fully_connected" in kinds(graph)
    assert error(graph, weights, function, v, x) < 1e-5
