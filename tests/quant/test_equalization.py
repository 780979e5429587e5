import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, normal

from attokit import quant
from attokit.quant.equalization import equalizable, equalize
from attokit.zoo.convolution import conv

X = jax.nn.sigmoid(normal(8, 8, 8, 3))
_SHAPES = {"first": (3, 3, 3, 8), "depthwise": (3, 3, 1, 8), "point": (1, 1, 8, 12)}


def _variables():
    return {
        name: {
            "kernel": normal(*shape, seed=i) / jnp.float32(np.sqrt(np.prod(shape[:-1]))),
            "bias": normal(shape[-1], seed=i) / 10,
        }
        for i, (name, shape) in enumerate(_SHAPES.items())
    }


def _network(v, x):
    """A chain of three."""

    def layer(name, y, groups=1):
        kernel, bias = v[name]["kernel"], v[name]["bias"].reshape(1, 1, 1, -1)
        padded = {"padding": "SAME", "strides": (1, 1), "dilation": (1, 1)}
        return conv(y, kernel, groups=groups, **padded) + bias

    y = jax.nn.relu(layer("depthwise", jax.nn.relu(layer("first", x)), 8))
    return layer("point", y)


def _spoilt(weights, most=12.0):
    """Returns weights of the same function with channels that are up to most² times as large as others."""
    spread = np.float32(most) ** np.random.default_rng(5).uniform(-1, 1, (2, 8)).astype(np.float32)
    first, second = spread
    return weights | {
        "first/kernel": weights["first/kernel"] * first.reshape(1, 1, 1, -1),
        "first/bias": weights["first/bias"] * first,
        "depthwise/kernel": weights["depthwise/kernel"] * (second / first).reshape(1, 1, 1, -1),
        "depthwise/bias": weights["depthwise/bias"] * second,
        "point/kernel": weights["point/kernel"] / second.reshape(1, 1, -1, 1),
    }


@functools.cache
def _traced():
    graph, weights = quant.trace(_network, _variables(), X[:1])
    return graph, weights, jit(graph.intermediates), quant.fake_quant(graph)


def _error(weights):
    """Returns the error of the output in integers, over what each channel varies; the mean of all channels."""
    graph, _, run, integer = _traced()
    qparams = quant.calibrate(graph, weights, [X])
    entry = qparams[graph.tensors["point"].range_name]
    wanted = np.asarray(run(weights, X)["point"])
    integers = np.asarray(integer.integers(weights, qparams, X)["point"], np.float32)
    found = (integers - float(entry.zero_point)) * float(entry.scale)
    return np.mean(np.std(found - wanted, (0, 1, 2)) / (np.std(wanted, (0, 1, 2)) + 1e-6))


@functools.cache
def _errors_before():
    weights = _traced()[1]
    return _error(weights), _error(_spoilt(weights))


@pytest.mark.parametrize("batches", [pytest.param(None, marks=pytest.mark.slow), [X[:3], X[3:]]])
def test_the_function_stays_and_int8_holds_it_again(batches):
    graph, weights, run, _ = _traced()
    spoilt = _spoilt(weights)
    mended = equalize(graph, spoilt, batches)
    assert {n: w.shape for n, w in mended.items()} == {n: w.shape for n, w in weights.items()}
    wanted = np.asarray(run(weights, X)["point"])
    for own in (spoilt, mended):
        found = run(own, X)["point"]
        np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())
    good, bad = _errors_before()
    equal = _error(mended)
    assert bad > 5 * good and equal < 1.1 * good, (good, bad, equal)


def test_each_channel_has_one_share_of_the_activation_and_of_its_readers():
    graph, weights, run, _ = _traced()
    mended = equalize(graph, _spoilt(weights, 6.0), [X])
    values = run(mended, X)
    reach = {n: np.abs(values[n]).max((0, 1, 2)) for n in ("first", "depthwise")}
    live = reach["first"] > 0
    assert live.sum() == 7
    # A depthwise reads it.
    np.testing.assert_allclose(reach["first"][live], reach["first"].max(), rtol=0.01)
    kernel = np.abs(mended["point/kernel"][0, 0])
    share = (kernel / kernel.max(0)).max(1)
    held = reach["depthwise"] / reach["depthwise"].max()
    np.testing.assert_allclose(held[live], share[live], rtol=0.01)
    assert share[live].min() < 0.9  # not merely equal


def test_without_batches_kernels_tell_the_range():
    graph, weights, *_ = _traced()
    mended = equalize(graph, _spoilt(weights))
    reach = np.abs(mended["first/kernel"]).max((0, 1, 2))
    np.testing.assert_allclose(reach / reach.max(), 1, rtol=0.01)


def test_a_channel_that_never_fires_clips_no_more_on_unseen_images():
    graph, weights, run, _ = _traced()
    mended = equalize(graph, weights, [X])
    seen, unseen = (
        [np.max(run(w, x)["first"], (0, 1, 2)) for w in (weights, mended)]
        for x in (X, jnp.round(X))
    )
    (dead,) = np.flatnonzero(seen[0] == 0)
    before, after = (new[dead] / old.max() for new, old in zip(unseen, seen, strict=True))
    assert before > 0.05, before
    assert after < max(1, before), (before, after)


def test_channels_that_hold_nothing_or_are_not_read_stay_finite():
    graph, weights, run, _ = _traced()
    dead = np.asarray([1, 0, 1, 1, 1, 1, 1, 1], np.float32)
    unread = np.asarray([1, 1, 0, 1, 1, 1, 1, 1], np.float32)
    own = weights | {
        "first/kernel": weights["first/kernel"] * dead.reshape(1, 1, 1, -1),
        "first/bias": weights["first/bias"] * dead,
        "point/kernel": weights["point/kernel"] * unread.reshape(1, 1, -1, 1),
    }
    for batches in (None, [X]):
        mended = equalize(graph, own, batches)
        assert all(np.isfinite(w).all() for w in mended.values())
        np.testing.assert_allclose(run(mended, X)["point"], run(own, X)["point"], atol=1e-5)


def test_what_is_equalized_is_told():
    coverage = equalizable(_traced()[0])
    assert coverage.reached == ("first", "depthwise")
    assert coverage.left_out == {"point": "it leaves the graph"}


@pytest.mark.parametrize(
    ("batches", "match"),
    [
        ([], "got no batch"),
        (X, None),
        (
            [X, X.at[0, 0, 0].set(jnp.nan)],
            "batch 1 of input 'input' holds 3 values that are not finite",
        ),
        ([X * 3.3e38, X], "calibration batch 0 makes '.*' not finite"),
        ([X[:, :, :, :2]], "the graph was traced with"),
        ([np.ones(X.shape, np.uint8)], "is uint8; give floats"),
        ([X, X[:0]], "batch 1 of input 'input' has shape .* which holds no value"),
    ],
)
def test_bad_batches_are_refused(batches, match):
    graph, weights, *_ = _traced()
    with pytest.raises(ValueError, match=match or "put it into a list"):
        equalize(graph, weights, batches if match else np.asarray(X[0]))


def test_bad_weights_are_refused():
    graph, weights, *_ = _traced()
    with pytest.raises(ValueError, match="weight 'point/bias' is missing"):
        equalize(graph, {n: w for n, w in weights.items() if n != "point/bias"})


@pytest.mark.parametrize("batches", [None, [X]])
def test_weights_that_are_not_finite_are_named(batches):
    graph, weights, *_ = _traced()
    spoilt = weights | {"first/kernel": weights["first/kernel"].at[0, 0, 0, 0].set(jnp.nan)}
    with pytest.raises(ValueError, match="'first/kernel' holds 1 values that are not finite"):
        equalize(graph, spoilt, batches)


@pytest.mark.parametrize("batches", [None, [normal(2, 3)]])
def test_a_graph_without_kernels_keeps_its_weights(batches):
    def function(v, x):
        return jax.nn.relu(x) * v["scale"].reshape(1, -1)

    graph, weights = quant.trace(function, {"scale": normal(3)}, normal(2, 3))
    assert equalize(graph, weights, batches) == weights


def _pooled(v, x):
    """A max pool whose pads are infinities, since what it reads may be negative."""
    y = jax.nn.leaky_relu(conv(x, v["first"], padding="SAME"))
    y = nn.max_pool(y, (3, 3), (2, 2), ((1, 1), (1, 1)))
    return conv(y, v["last"], padding="SAME")


def test_the_pads_of_a_max_pool_are_no_reach_of_a_channel():
    spread = jnp.asarray([1, 1 / 8, 8, 2], jnp.float32).reshape(1, 1, 1, -1)
    variables = {"first": normal(3, 3, 3, 4) * spread, "last": normal(3, 3, 4, 2)}
    graph, weights = quant.trace(_pooled, variables, X[:1])
    assert [op.kind for op in graph.ops] == [
        "conv_2d", "leaky_relu", "pad_v2", "max_pool_2d", "conv_2d",
    ]  # fmt: skip
    mended = equalize(graph, weights, [X])
    found = [jit(graph.intermediates)(w, X) for w in (weights, mended)]
    wanted, outputs = (values[graph.outputs[0]] for values in found)
    np.testing.assert_allclose(outputs, wanted, atol=2e-6 * np.abs(wanted).max())
    before, after = (np.abs(values["max_pool_2d"]).max((0, 1, 2)) for values in found)
    # Half of the spread, as a logarithm, goes to the kernel that reads the channels.
    assert after.max() / after.min() < 2 * np.sqrt(before.max() / before.min())
    with pytest.raises(ValueError, match="calibration batch 0 makes 'conv_2d' not finite"):
        equalize(graph, weights, [X * 3.3e38])
