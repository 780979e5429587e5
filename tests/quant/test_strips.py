import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from row_networks import Network, calibrated
from traced import normal, variables_of

from attokit import zoo
from attokit.quant import cut_strips, trace
from attokit.quant.strips import own_weights, padding_values
from attokit.zoo.conv_norm import ConvNorm


def _two(v, x):
    y = jax.nn.relu6(zoo.conv(x, v["a"], strides=2, padding="SAME"))
    return zoo.conv(y, v["b"], padding="SAME").mean((1, 2))


@pytest.fixture(scope="module")
def two() -> Network:
    return calibrated(_two, {"a": normal(3, 3, 2, 3), "b": normal(3, 3, 3, 2)}, (1, 9, 8, 2))


def test_calls_cover_the_map(two):
    strips = cut_strips(two.graph, rows=2)
    assert strips.map_shape[1] == 5
    assert strips.calls == ((-1, 0), (3, 2), (5, 3))  # the last two share a row
    assert strips.strip_rows == 5
    assert strips.padded == "input"
    assert strips.strip.tensors["input"].shape == (1, 5, 8, 2)
    assert strips.strip.tensors[strips.map_name].shape[1] == 2
    assert strips.rest.inputs == (strips.map_name,)
    assert set(strips.strip.weight_shapes) | set(strips.rest.weight_shapes) == {"a", "b"}


def test_padding_of_bytes_is_their_zero_point(two):
    strips = cut_strips(two.graph)
    assert padding_values(strips, two.weights, two.qparams).tolist() == [-128, -128]
    assert own_weights(strips.strip, two.weights).keys() == {"a"}


def test_padding_of_what_is_computed_of_the_image():
    """Bytes minus a mean: its zero is the byte of the mean."""
    mean = np.asarray([40, 200], np.float32).reshape(1, 1, 1, 2)

    def centred(v, x):
        return _two(v, 255 * x - mean)

    variables = {"a": normal(3, 3, 2, 3), "b": normal(3, 3, 3, 2)}
    network = calibrated(centred, variables, (1, 9, 8, 2))
    strips = cut_strips(network.graph)
    assert strips.padded not in (None, "input")
    values = padding_values(strips, network.weights, network.qparams)
    assert (np.abs(values + 128.0 - mean.reshape(-1)) <= 1).all()


def test_recurrent_pooling_is_cut_after_it():
    layer = nn.Sequential(
        [ConvNorm(2, 3, strides=2, padding=((1, 1), (1, 1))), zoo.RNNPool((2, 3), 4, stride=2)]
    )
    images = normal(1, 16, 14, 1)
    variables = variables_of(layer, images)
    network = calibrated(lambda v, x: layer.apply(v, x).mean((1, 2)), variables, images.shape)
    strips = cut_strips(network.graph)
    assert strips.map_shape == (1, 3, 2, 12)
    assert strips.calls == ((-1, 0), (3, 1), (7, 2))
    assert strips.strip_rows == 9  # 2 (4 - 1) + 3


def test_refuses_what_strips_cannot_make(two):
    with pytest.raises(ValueError, match=r"rows=6: .* has 5 rows"):
        cut_strips(two.graph, rows=6)
    last = two.graph.ops[-1].inputs[0]
    with pytest.raises(ValueError, match=r"no such rows after a convolution"):
        cut_strips(two.graph, last)
    mixed = calibrated(
        lambda v, x: _two({"a": v["a"], "b": v["b"]}, zoo.conv(x, v["mix"])),
        {"mix": normal(1, 1, 2, 2), "a": normal(3, 3, 2, 3), "b": normal(3, 3, 3, 2)},
        (1, 9, 8, 2),
    )
    with pytest.raises(ValueError, match=r"no such rows after a convolution"):
        cut_strips(mixed.graph, mixed.graph.ops[1].outputs[0])
    graph, _ = trace(lambda v, x: zoo.conv(x, v), normal(1, 1, 2, 1), normal(1, 4, 4, 2))
    with pytest.raises(ValueError, match="leaves the graph, and nothing would be left"):
        cut_strips(graph, graph.outputs[0])


def test_refuses_strips_that_are_not_alike():
    """Row i of the result is made of rows i and 2 i of the image: no one graph does for all i."""

    def two_paces(v, x):
        return zoo.conv(jnp.concatenate([x[:, ::2], x[:, :8]], -1), v).mean((1, 2))

    graph, _ = trace(two_paces, normal(1, 1, 4, 1), normal(1, 16, 6, 2))
    made = next(op for op in graph.ops if op.kind == "conv_2d").outputs[0]
    with pytest.raises(ValueError, match="read from 1 to 8 rows of 'input', depending on"):
        cut_strips(graph, made)
    with pytest.raises(ValueError, match="needs the whole image"):
        cut_strips(graph)


def test_refuses_images_that_the_rest_needs():
    pair = calibrated(
        lambda v, x: (x * v["a"].reshape(1, 1, 1, 2)).mean((1, 2)) + x[:, 0, 0],
        {"a": normal(2)},
        (1, 4, 4, 2),
    )
    with pytest.raises(ValueError, match="needs the whole image"):
        cut_strips(pair.graph)
