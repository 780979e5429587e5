import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_detector import calibrated, images
from traced import jit, normal

from attokit import quant
from attokit.quant import params
from attokit.quant.bias_correction import correct_bias, correctable
from attokit.zoo.convolution import conv

X = jax.nn.sigmoid(normal(24, 6, 6, 3))


def _conv(v, name, x):
    kernel = v[name]["kernel"]
    y = conv(x, kernel, strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1)
    return y + v[name]["bias"].reshape(1, 1, 1, -1) if "bias" in v[name] else y


def _small(v, x):
    """A clamp between."""
    y = jax.nn.relu6(_conv(v, "first", x))
    return y[:, 1, 2] @ v["head"]["kernel"] + v["head"]["bias"].reshape(1, -1)


def _network(v, x):
    """Clamps, an op without a bias, a bias that two ops share."""
    y = jax.nn.relu6(_conv(v, "first", x))
    y = _conv(v, "twice", jax.nn.relu(_conv(v, "twice", y)))
    y = jnp.tanh(_conv(v, "bare", y)).mean((1, 2))
    return y @ v["head"]["kernel"] + v["head"]["bias"].reshape(1, -1)


_SHAPES = {
    "first": (3, 3, 3, 6), "twice": (3, 3, 6, 6), "bare": (1, 1, 6, 6), "head": (6, 4),
}  # fmt: skip


def _variables():
    found = {
        name: {"kernel": normal(*shape, seed=i) / 4, "bias": normal(shape[-1], seed=i) / 10}
        for i, (name, shape) in enumerate(_SHAPES.items())
    }
    del found["bare"]["bias"]
    return found


@functools.cache
def _traced(function=_small):
    variables = _variables()
    own = variables if function is _network else {n: variables[n] for n in ("first", "head")}
    graph, weights = quant.trace(function, own, X[:1])
    qparams = quant.calibrate(graph, weights, [X], weight_bits=4)
    return graph, weights, qparams, correct_bias(graph, weights, qparams, [X])


def test_the_first_op_gets_what_its_rounded_kernel_took():
    """Before its relu6, which holds back much of the difference: computed by hand."""
    _, weights, qparams, corrected = _traced()
    scale = qparams["first/kernel"].scale
    rounded = params.quantize_kernel(weights["first/kernel"], scale, 4) * scale.reshape(1, 1, 1, -1)
    seen = params.quantize_centred(X, jnp.float32(1 / 255), jnp.float32(-128)) / jnp.float32(255)

    def mean(kernel, x):
        return _conv({"layer": {"kernel": kernel}}, "layer", x).mean((0, 1, 2))

    shift = mean(weights["first/kernel"], X) - mean(rounded, seen)
    np.testing.assert_allclose(corrected["first/bias"] - weights["first/bias"], shift, atol=2e-6)
    assert np.abs(shift).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("function", [_small, _network])
def test_the_mean_error_of_what_leaves_is_gone_and_nothing_else_moved(function):
    graph, weights, qparams, corrected = _traced(function)
    wanted = np.asarray(graph(weights, X))
    run = quant.fake_quant(graph)

    def error(own):
        return np.abs((np.asarray(run(own, qparams, X)) - wanted).mean(0)).max()

    scale = float(qparams["head"].scale)
    assert error(weights) > 3 * scale, (error(weights), scale)
    assert error(corrected) < scale, (error(corrected), scale)
    changed = {n for n in weights if not np.array_equal(weights[n], corrected[n])}
    assert changed == {name for name in weights if name.endswith("/bias")}


@pytest.mark.slow
def test_shifts_of_batches_are_averaged_by_their_sizes():
    graph, weights, qparams, _ = _traced(_network)
    parts = [X[:8], X[8:]]
    one, two = (correct_bias(graph, weights, qparams, [part]) for part in parts)
    both = correct_bias(graph, weights, qparams, parts)
    for name in ("first/bias", "twice/bias"):  # the others see means of the shared one
        np.testing.assert_allclose(both[name], one[name] / 3 + two[name] * 2 / 3, atol=1e-6)


def test_what_is_corrected_is_told():
    coverage = correctable(quant.trace(_network, _variables(), X[:1])[0])
    assert coverage.reached == ("first", "twice", "twice/conv_2d", "head")
    assert coverage.left_out == {"bare": "it has no bias"}


@pytest.mark.slow
@pytest.mark.parametrize("kernels", quant.KERNELS)
def test_other_types_and_kernel_sets(kernels):
    graph, weights, *_ = _traced(_network)
    own = quant.keep_float(quant.widen(graph, ["twice"]), ["head"])
    qparams = quant.calibrate(own, weights, [X], weight_bits={"first/*": 4})
    corrected = correct_bias(own, weights, qparams, [X], kernels=kernels)
    wanted, run = np.asarray(graph(weights, X)), quant.fake_quant(own, kernels)
    before, after = (
        np.abs((np.asarray(run(w, qparams, X)) - wanted).mean(0)).max()
        for w in (weights, corrected)
    )
    assert after < before / 5, (before, after)
    assert not np.array_equal(corrected["head/bias"], weights["head/bias"])  # on float32


@pytest.mark.slow
def test_what_follows_a_float_island_sees_its_corrected_bias():
    """Behind an op without a bias, whose error the island takes back: once, not again in the head."""

    def function(v, x):
        y = jax.nn.relu(x @ v["bare"])
        return (y @ v["island"] + v["bias"].reshape(1, -1)) @ v["head"] + v["shift"].reshape(1, -1)

    variables = {
        "bare": normal(6, 8) / 2, "island": normal(8, 8, seed=1) / 3, "bias": normal(8, seed=2) / 8,
        "head": normal(8, 3, seed=3) / 3, "shift": normal(3, seed=4) / 8,
    }  # fmt: skip
    x = jax.nn.sigmoid(normal(64, 6))
    full, weights = quant.trace(function, variables, x)
    graph = quant.keep_float(full, ["fully_connected_1"])
    qparams = quant.calibrate(graph, weights, [x], weight_bits={"bare": 4})
    corrected = correct_bias(graph, weights, qparams, [x])
    wanted, run = np.asarray(full(weights, x)), quant.fake_quant(graph)
    before, after = (
        np.abs((np.asarray(run(own, qparams, x)) - wanted).mean(0)).max()
        for own in (weights, corrected)
    )
    assert np.abs(corrected["bias"] - weights["bias"]).max() > 0.01
    assert after < before / 10, (before, after)


@pytest.mark.slow
def test_a_two_stage_detector():
    graph, weights, _ = calibrated()
    mended = quant.equalize(graph, weights, [images(4, seed=1)])
    run = jit(graph.intermediates)
    before, after = run(weights, images(1)), run(mended, images(1))
    names = [op.inputs[0] for op in graph.ops if op.kind == "propose"]
    for name in names:
        scale = np.abs(before[name]).max()
        np.testing.assert_allclose(after[name], before[name], atol=1e-5 * scale)
    qparams = quant.calibrate(graph, mended, [images(4, seed=1)], weight_bits=4)
    corrected = correct_bias(graph, mended, qparams, [images(4, seed=1)])
    assert all(np.isfinite(w).all() for w in corrected.values())
    wanted = jit(graph.intermediates)(mended, images(4, seed=1))
    integer = quant.fake_quant(graph)
    errors = []
    for own in (mended, corrected):
        found = integer.integers(own, qparams, images(4, seed=1))
        errors += [abs(np.mean(np.asarray(found[n]) - np.asarray(wanted[n]))) for n in names]
    assert errors[1] < errors[0] / 3, errors


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda g, w, q: correct_bias(g, w, q, []), "got no batch"),
        (lambda g, w, q: correct_bias(g, w, q, [X], kernels="tpu"), "no kernel set 'tpu'"),
        (lambda g, w, q: correct_bias(g, {}, q, [X]), "is missing"),
        (lambda g, w, q: correct_bias(g, w, {}, [X]), "qparams have no entry"),
        (lambda g, w, q: correct_bias(g, w, q, [X[:, :2]]), "the graph was traced with"),
        (lambda g, w, q: correct_bias(g, w, q, [X * jnp.nan]), "values that are not finite"),
        (lambda g, w, q: correct_bias(g, w, q, [X, X[:0]]), "batch 1 of .* holds no value"),
        (lambda g, w, q: correct_bias(g, w, q, [np.ones(X.shape, np.uint8)]), "is uint8; give"),
        (
            lambda g, w, q: correct_bias(g, w, q, [X, X * 255]),
            r"batch 1 of .* hold \[0, 1\]; scale",
        ),
        (lambda g, w, q: correct_bias(g, w, q, [X * 2 - 1]), r"spans \[-0.9.*hold \[0, 1\]; scale"),
        (
            lambda g, w, q: correct_bias(g, w | {"head/kernel": w["head/kernel"] * 3e38}, q, [X]),
            "by what is not finite",
        ),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(ValueError, match=match):
        make(*_traced()[:3])


@pytest.mark.slow
def test_inputs_may_reach_a_little_further_than_calibration_left_them():
    graph, weights = quant.trace(_small, {n: _variables()[n] for n in ("first", "head")}, X[:1])
    odd = X.at[0, 0, 0, 0].set(9)
    qparams = quant.calibrate(graph, weights, [X], input_range=None)
    corrected = correct_bias(graph, weights, qparams, [odd])
    assert all(np.isfinite(w).all() for w in corrected.values())


def test_numbers_of_the_graph_are_arguments_of_one_program(monkeypatch):
    """As constants XLA would compute with them while it compiles."""
    graph, weights, qparams, _ = _traced()

    def shifts(graph, kernels, *arguments):
        assert all(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments))
        assert len(jax.tree.leaves(arguments)) > len(weights) + len(qparams)
        return {"head/bias": arguments[-1][0].mean((0, 1, 2, 3)) * jnp.ones(4)}

    monkeypatch.setattr("attokit.quant.bias_correction._shifts", shifts)
    corrected = correct_bias(graph, weights, qparams, [X[:8], X[8:]])
    np.testing.assert_allclose(corrected["head/bias"] - weights["head/bias"], X.mean(), atol=1e-5)


@pytest.mark.slow
def test_a_first_input_that_is_one_number():
    def function(v, scale, x):
        return (x * scale) @ v["kernel"] + v["bias"].reshape(1, -1)

    inputs = (jnp.float32(1), jax.nn.sigmoid(normal(4, 3)))
    variables = {"kernel": normal(3, 2), "bias": normal(2)}
    graph, weights = quant.trace(function, variables, *inputs)
    qparams = quant.calibrate(graph, weights, [inputs], weight_bits=4)
    corrected = correct_bias(graph, weights, qparams, [inputs])
    assert np.abs(corrected["bias"] - weights["bias"]).max() > 0.001
