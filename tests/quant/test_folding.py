import flax.linen as nn
import jax.numpy as jnp
import pytest
from traced import error, kinds, normal

from attokit import quant
from attokit.zoo.convolution import conv

X, K = normal(3, 6), normal(6, 6)


def _traced(function, variables=K):
    graph, weights = quant.trace(function, variables, X)
    assert error(graph, weights, function, variables, X) < 1e-5
    return graph, weights


def test_affine_chains_fold_into_one_kernel_and_bias():
    def function(v, x):
        return (2 - (x @ v + 1) * v[0][None]) / 4 * -1

    graph, weights = _traced(function)
    assert kinds(graph) == ["fully_connected"]
    assert set(weights) == {"weight", "bias"}


def test_nothing_folds_into_a_value_that_is_used_twice():
    graph, _ = _traced(lambda v, x: (lambda y: y * 2 + nn.relu(y))(x @ v))
    assert kinds(graph) == ["fully_connected", "mul", "relu", "add"]


def test_nothing_folds_across_an_activation_or_along_another_axis():
    graph, _ = _traced(lambda v, x: nn.relu(x @ v) * 2)
    assert kinds(graph) == ["fully_connected+relu", "mul"]
    graph, _ = _traced(lambda v, x: (x @ v) * v[:3, :1])
    assert kinds(graph) == ["fully_connected", "mul"]


def test_a_kernel_with_two_uses_folds_each_by_itself():
    graph, weights = _traced(lambda v, x: (x @ v) * 2 + (x @ v) * 3)
    assert kinds(graph) == ["fully_connected", "fully_connected", "add"]
    assert len(weights) == 2


def test_rectifiers_fuse_once_and_where_nobody_else_reads():
    graph, _ = _traced(lambda v, x: nn.relu(nn.relu6(x @ v) - 1))
    assert kinds(graph) == ["fully_connected+relu6", "sub+relu"]
    graph, _ = _traced(lambda v, x: (lambda y: y + nn.relu(y))(x @ v))
    assert kinds(graph) == ["fully_connected", "relu", "add"]


IMAGES, KERNEL = normal(2, 8, 8, 3), normal(3, 3, 3, 4)


def _padded(width, *, leaves=False):
    def function(v, x):
        y = jnp.pad(x, ((0, 0), width, width, (0, 0)))
        z = conv(y, v, strides=(2, 2), padding="VALID")
        return (z, y) if leaves else z

    graph, weights = quant.trace(function, KERNEL, IMAGES)
    assert error(graph, weights, function, KERNEL, IMAGES) < 1e-5
    return graph


@pytest.mark.parametrize(
    ("width", "want", "padding"),
    [
        ((0, 1), ["conv_2d"], "SAME"),
        ((0, 2), ["conv_2d"], "SAME"),
        ((1, 1), ["pad", "conv_2d"], "VALID"),
    ],
)
def test_a_convolution_pads_by_itself_what_it_reads_of_a_pad(width, want, padding):
    graph = _padded(width)
    assert kinds(graph) == want
    assert graph.ops[-1]["padding"] == padding
    if "pad" in want:
        assert graph.ops[0]["widths"] == ((0, 0), (1, 0), (1, 0), (0, 0))


def test_a_pad_that_somebody_else_reads_stays_as_it_is():
    graph = _padded((1, 1), leaves=True)
    assert graph.ops[0]["widths"] == ((0, 0), (1, 1), (1, 1), (0, 0))
