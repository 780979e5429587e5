import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import quant
from attokit.quant.ops.kind import Op
from attokit.quant.tied_constants import ANYTHING, Claim, claim, claim_of_range, ignored_sides

UNIT = (1 / 256, -128)


@pytest.mark.parametrize(
    ("values", "ignored", "want"),
    [
        ([0.5], None, Claim(high=0.5)),
        ([-2, 3], None, Claim(low=-2, high=3)),
        ([-2, 3], "below", Claim(high=3)),
        ([-2, 3], "above", Claim(low=-2)),
        ([-1e9, 3], None, Claim(high=3, below=6)),
        ([-np.inf, 3], "below", Claim(high=3)),
        ([np.inf], None, Claim(above=6)),
        ([], None, Claim()),
    ],
)
def test_what_constants_claim(values, ignored, want):
    assert claim(np.float32(values), ignored, ignored) == want


def test_where_only_masks_are_hidden_other_constants_are_held():
    assert claim(np.float32([-1e9, -2]), None, "below") == Claim(low=-2)
    assert claim(np.float32([1e9, 3]), None, "above") == Claim(high=3)


def test_claims_join():
    first, second = Claim(low=-1, above=6), Claim(high=2)
    assert first | second == Claim(low=-1, high=2, above=6)
    assert first | ANYTHING == Claim(low=-np.inf, high=np.inf, above=6)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_range_holds_what_it_claims(bits):
    own, other = (1 / 128, 0), (1 / 64, 0)
    assert claim_of_range(own, bits).fits(own, bits)
    assert claim_of_range(own, bits).fits(other, bits)
    assert not claim_of_range(other, bits).fits(own, bits)


def test_what_fits_a_prescribed_range():
    assert Claim(high=1).fits(UNIT)  # one step beyond
    assert not Claim(high=1.01).fits(UNIT)
    assert not Claim(low=-0.01).fits(UNIT)
    assert not Claim(below=6).fits(UNIT)
    assert Claim().fits(None)
    assert not Claim(high=0.5).fits(None)


def test_a_side_is_ignored_if_every_reader_ignores_it():
    def op(kind, inputs, output):
        return Op(kind=kind, inputs=inputs, outputs=(output,))

    ops = [
        op("pad_v2", ("x", "c"), "a"),
        op("max_pool_2d", ("a",), "b"),
        op("select", ("m", "b", "c"), "d"),
        op("reduce_max", ("d",), "e"),
        op("reduce_min", ("d",), "f"),
        op("minimum", ("b", "c"), "g"),
    ]
    assert ignored_sides(ops, ["e"]) == {
        "a": "below", "b": "below", "e": "below", "f": "above", "g": "above"
    }  # fmt: skip
    assert "a" not in ignored_sides(ops, ["a"])


@pytest.mark.parametrize("method", ["minmax", "moving_average", "percentile", "mse"])
def test_a_free_range_is_widened_to_hold_a_constant(method):
    x = normal(2, 40, 3)
    graph, weights = quant.trace(lambda _, x: (2 * x).at[0, 0].set(-50.0), (), x)
    qparams = quant.calibrate(graph, weights, [x], method=method, input_range=None)
    found = quant.fake_quant(graph)(weights, qparams, x)
    np.testing.assert_allclose(found[0, 0], -50, atol=0.2)


def test_a_window_that_holds_only_a_constant_gives_it():
    hidden = np.zeros((1, 4, 4, 1), bool)
    hidden[:, :2, :2] = True
    x = np.abs(normal(1, 4, 4, 3)) / 4

    def function(_, x):
        return nn.max_pool(jnp.where(hidden, -1.0, x), (2, 2), (2, 2))

    graph, weights = quant.trace(function, (), x)
    qparams = quant.calibrate(graph, weights, [x])
    found = quant.fake_quant(graph)(weights, qparams, x)
    np.testing.assert_allclose(found, function((), x), atol=0.01)


_SEEN = np.tril(np.ones((6, 6), bool))


@pytest.mark.parametrize("mask", [-1e9, -np.inf])
def test_a_mask_keeps_its_margin_where_its_range_is_changed(mask):
    x = normal(2, 6, 6)
    graph, weights = quant.trace(lambda _, x: nn.softmax(jnp.where(_SEEN, x, mask)), (), x)
    wide = quant.widen(graph, ["softmax"])  # the select keeps 8 bits
    qparams = quant.calibrate(wide, weights, [x], input_range=None)
    found = quant.fake_quant(wide)(weights, qparams, x)
    np.testing.assert_allclose(found, graph(weights, x), atol=0.02)


@pytest.mark.parametrize("mask", [-1e9, -np.inf])
@pytest.mark.parametrize("after", [lambda x: x * -0.5, lambda x: x * x[:, :1]])
def test_arithmetic_on_a_mask_is_refused_with_its_line(after, mask):
    x = normal(2, 6, 6)
    graph, weights = quant.trace(lambda _, x: nn.softmax(after(jnp.where(_SEEN, x, mask))), (), x)
    with pytest.raises(ValueError, match=r"test_tied_constants.*computes with a mask.*mask last"):
        quant.calibrate(graph, weights, [x], input_range=None)
