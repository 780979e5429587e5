import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import export, quant

_MASK = np.tri(6, dtype=bool)
_X = jnp.linspace(-3, 3, 36).reshape(1, 6, 6)


def _masked_early(_, x):
    return jax.nn.softmax(jnp.where(_MASK, x, -1e9) * jax.nn.sigmoid(jnp.flip(x, -1)))


def _graph():
    return quant.trace(_masked_early, (), _X)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            [],
            r"'mul' \(mul at .*test_masks.py:\d+.*\) computes with a mask, .*: mask last, .*'mul'",
        ),
        (["mul"], r"'mul' \(mul at .*\) computes with a mask"),
        (
            ["select", "mul"],
            r"'mul' at .* holds a mask, .*: name what reads it in quant.keep_float",
        ),
    ],
)
def test_a_mask_that_no_range_holds_is_refused(names, message):
    graph, weights = _graph()
    mixed = quant.keep_float(graph, names)
    with pytest.raises(ValueError, match=message):
        quant.calibrate(mixed, weights, [_X], input_range=None)


def test_a_mask_that_arithmetic_makes_of_a_float_input_is_refused():
    graph, weights = quant.trace(lambda _, x, m: jax.nn.softmax(x + (1 - m) * -1e9), (), _X, _X)
    with pytest.raises(
        ValueError, match=r"'softmax' \(softmax at .*\) reads 'add.*', which reaches"
    ):
        quant.calibrate(
            graph, weights, [(_X, jnp.asarray(_MASK[None], jnp.float32))], input_range=None
        )


def test_from_the_mask_to_the_softmax_all_may_stay_float():
    graph, weights = _graph()
    mixed = quant.keep_float(graph, ["select", "mul", "softmax"])
    qparams = quant.calibrate(mixed, weights, [_X], input_range=None)
    file = export.to_tflite(mixed, weights, qparams)
    (found,) = export.run(file, _X, dequantize=True).values()
    np.testing.assert_allclose(found, _masked_early((), _X), atol=0.02)


@pytest.mark.slow
def test_what_only_moves_a_mask_may():
    def function(_, x):
        hidden = jnp.where(_MASK, x, -1e9)
        return jax.nn.softmax(jnp.transpose(hidden, (0, 2, 1)).reshape(1, 36))

    graph, weights = quant.trace(function, (), _X)
    mixed = quant.keep_float(graph, ["transpose*", "reshape*", "softmax"])
    qparams = quant.calibrate(mixed, weights, [_X], input_range=None)
    found = quant.fake_quant(mixed)(weights, qparams, _X)
    np.testing.assert_allclose(found, function((), _X), atol=0.02)
