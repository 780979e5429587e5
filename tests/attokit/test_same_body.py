import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.quant import calibrate, fake_quant, trace
from attokit.same_body import check_same_body

_RNG = np.random.default_rng(0)
_KERNEL = jnp.asarray(_RNG.normal(0, 0.3, (2, 2, 3, 4)), jnp.float32)
_IMAGES = _RNG.random((2, 8, 8, 3), np.float32)


def _traced(end, *, slope=0.0, strides=(2, 2), scale=1.0):
    def function(variables, x):
        x = jax.lax.conv_general_dilated(
            x, variables["conv"]["kernel"], strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )  # fmt: skip
        return end(jax.nn.leaky_relu(x, slope) * np.float32(scale))

    return trace(
        function, {"conv": {"kernel": _KERNEL}}, jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
    )


def _same(x):
    return x


def _full(x):
    return jax.image.resize(x, (x.shape[0], 8, 8, 4), "bilinear")


def _argmax(x):
    return _full(x).argmax(-1).astype(jnp.int32)


@pytest.mark.slow
def test_numbers_of_one_ending_are_exact_for_another():
    graph, weights = _traced(_full)
    qparams = calibrate(graph, weights, [_IMAGES])
    logits = jax.jit(fake_quant(graph))(weights, qparams, _IMAGES)
    for end in (_same, _argmax):
        other, _ = _traced(end)
        check_same_body(graph, other)
        check_same_body(other, graph)
        found = jax.jit(fake_quant(other))(weights, qparams, _IMAGES)
        if end is _argmax:
            np.testing.assert_array_equal(found, logits.argmax(-1))
        else:  # the same integers, before they are resized
            step = float(qparams[graph.tensors[graph.outputs[0]].range_name].scale)
            assert np.abs(_full(found) - logits).max() <= step


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"slope": 0.1}, "which has a range of its own"),
        ({"strides": (4, 4)}, "which has a range of its own"),
    ],
)
def test_other_bodies_are_refused(options, text):
    graph, _ = _traced(_full)
    with pytest.raises(ValueError, match=text):
        check_same_body(graph, _traced(_full, **options)[0])


def _shifted(shift):
    return trace(lambda _, x: x + np.float32([shift]), {}, jax.ShapeDtypeStruct((1, 3), "float32"))[
        0
    ]


def test_another_constant_and_other_weights_are_refused():
    graph = _shifted([1, 2, 3])
    check_same_body(graph, _shifted([1, 2, 3]))
    with pytest.raises(ValueError, match="it changes the constant"):
        check_same_body(graph, _shifted([1, 2, 4]))
    with pytest.raises(ValueError, match="it changes the weights conv/kernel"):
        check_same_body(graph, _traced(_same)[0])
