import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, kinds, normal, variables_of

from attokit import quant
from attokit.zoo.feature_pyramid import FeaturePyramid, enlarge


def _centred(variables):
    """Returns the variables with 3x3 kernels that read their centre alone."""

    def centre(kernel):
        return jnp.zeros_like(kernel).at[1, 1].set(kernel[1, 1]) if kernel.shape[0] == 3 else kernel

    return jax.tree.map(lambda leaf: centre(leaf) if leaf.ndim == 4 else leaf, variables)


def test_coarser_maps_are_added_to_finer_ones():
    maps = [normal(2, 7, 6, 3), normal(2, 4, 3, 5), normal(2, 2, 2, 4)]
    module = FeaturePyramid(8)
    variables = _centred(variables_of(module, maps))
    params = jax.tree.map(np.asarray, variables["params"])
    got = jit(module.apply)(variables, maps)
    assert [x.shape for x in got] == [(2, 7, 6, 8), (2, 4, 3, 8), (2, 2, 2, 8), (2, 1, 1, 8)]
    above = np.zeros((2, 1, 1, 8))
    for number in (3, 2, 1):
        lateral, output = params[f"lateral{number}"], params[f"output{number}"]["conv"]
        x = np.asarray(maps[number - 1])
        twice = above.repeat(2, 1).repeat(2, 2)[:, : x.shape[1], : x.shape[2]]
        above = x @ lateral["kernel"][0, 0] + lateral["bias"] + twice
        want = above @ output["kernel"][1, 1] + output["bias"]
        np.testing.assert_allclose(got[number - 1], want, atol=2e-5 * np.abs(want).max())
    assert np.array_equal(got[3], got[2][:, ::2, ::2])


def test_separable_norms_and_no_coarser_map():
    module = FeaturePyramid(8, "separable", norm=True, coarser=False)
    maps = [normal(1, 8, 6, 3), normal(1, 4, 3, 5)]
    variables = variables_of(module, maps)
    assert set(variables["params"]["output1"]) == {"depthwise", "pointwise"}
    assert set(variables["batch_stats"]["output2"]) == {"depthwise", "pointwise"}
    graph, _ = quant.trace(lambda v, *maps: module.apply(v, maps), variables, *maps)
    assert sorted(kinds(graph)) == [
        "add",
        *["conv_2d"] * 4,
        *["depthwise_conv_2d"] * 2,
        "resize_nearest_neighbor",
    ]


def test_enlarging_repeats_cells():
    x = np.arange(6, dtype=np.float32).reshape(1, 3, 2, 1)
    got = enlarge(jnp.asarray(x), (5, 4))
    assert np.array_equal(got, x.repeat(2, 1).repeat(2, 2)[:, :5])
    with pytest.raises(ValueError, match="a map of 3x2 is not half of 7x4"):
        enlarge(jnp.asarray(x), (7, 4))
