import flax.linen as nn
import numpy as np
import pytest

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.map_dense import MapDense
from attokit.zoo.state_dict import find_wanted, read, without_prefix
from attokit.zoo.transposed_conv import TransposedConv

MODULES = {
    "first/conv": "a.0",
    "first/norm": "a.1",
    "up": "b",
    "whole": "c",
    "last": "d",
}


class _Network(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = ConvNorm(5, 3, name="first")(images)
        x = TransposedConv(4, name="up")(x)
        x = MapDense(6, name="whole")(x)
        return nn.Dense(2, name="last")(x)


def _state():
    """Returns tensors as PyTorch has them, of images of 2x1 pixels with 3 channels."""
    rng = np.random.default_rng(0)
    shapes = {
        "a.0.weight": (5, 3, 3, 3),
        **{f"a.1.{name}": (5,) for name in ("weight", "bias", "running_mean", "running_var")},
        "b.weight": (5, 4, 2, 2),
        "b.bias": (4,),
        "c.weight": (6, 4 * 4 * 2),
        "c.bias": (6,),
        "d.weight": (2, 6),
        "d.bias": (2,),
    }
    state = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return state | {"a.1.num_batches_tracked": np.array(3)}


def _wanted():
    return find_wanted(_Network(), (2, 1, 3), MODULES)


def test_layouts_are_those_of_the_layers():
    state = _state()
    variables = read("it", state, _wanted())
    params, norms = variables["params"], variables["batch_stats"]["first"]["norm"]
    assert np.array_equal(norms["var"], np.float32(state["a.1.running_var"]))
    assert np.array_equal(params["first"]["norm"]["scale"], np.float32(state["a.1.weight"]))
    for ours, theirs, order in (
        (params["first"]["conv"]["kernel"], state["a.0.weight"], (2, 3, 1, 0)),
        (params["up"]["transposed_kernel"], state["b.weight"], (2, 3, 0, 1)),
        (params["last"]["kernel"], state["d.weight"], (1, 0)),
    ):
        assert np.array_equal(ours, np.float32(theirs.transpose(order)))
    # A map of 4x2 cells is flattened channels first there.
    x = np.random.default_rng(1).normal(size=(4, 2, 4))
    got = np.einsum("hwc,hwcd->d", x, params["whole"]["kernel"])
    np.testing.assert_allclose(got, state["c.weight"] @ x.transpose(2, 0, 1).ravel(), atol=1e-5)


def test_everything_that_does_not_fit_is_listed():
    state = _state()
    state["c.weight"] = state["c.weight"][:, 1:]
    state["e.bias"] = np.zeros(2)
    del state["d.bias"]
    with pytest.raises(ValueError, match=r"not fit it: missing: d\.bias; not of this") as error:
        read("it", state, _wanted())
    assert "of another shape: c.weight (6, 31)" in str(error.value)


def test_copies_may_be_there_and_must_be_equal():
    state = _state()
    copies = {key: f"copy.{key}" for key in state}
    state["copy.d.bias"] = state["d.bias"]

    def copies_of(key):
        return [copies[key]]

    read("it", state, _wanted(), copies_of)
    with pytest.raises(ValueError, match=r"unlike the tensor that they copy: copy\.d\.bias"):
        read("it", state | {"copy.d.bias": state["d.bias"] + 1}, _wanted(), copies_of)


def test_a_prefix_of_every_name_is_left_out():
    assert without_prefix({"module.a": 1, "module.b": 2}) == {"a": 1, "b": 2}
    assert without_prefix({"module.a": 1, "b": 2}) == {"module.a": 1, "b": 2}
