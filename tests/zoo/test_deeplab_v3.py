import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.mobilenet_v2 import InvertedResidual

NAME = "deeplab_v3_mobilenet_v2"


def test_costs_are_the_published_ones():
    info = zoo.info(NAME)
    assert (info.parameters, info.macs) == (2_113_557, 2_740_709_056)  # 2.11M; 2.741G, measured
    assert (info.image_size, info.num_classes) == ((513, 513, 3), 21)


@pytest.mark.slow
def test_features_stay_at_a_sixteenth_with_mobilenets_variables():
    images = jnp.zeros((1, 64, 64, 3), jnp.float32)
    model = zoo.create(NAME)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    backbone = jax.eval_shape(zoo.create("mobilenet_v2").init, jax.random.key(0), images)
    for name, params in backbone["params"].items():
        if name not in ("last", "head"):
            assert variables["params"][name] == params
    shapes = {
        eqn.outvars[0].aval.shape[1:3]
        for eqn in jax.make_jaxpr(model.apply)(variables, images).jaxpr.eqns
        if eqn.outvars and eqn.outvars[0].aval.shape[3:] == (320,)
    }
    assert shapes == {(4, 4), (1, 1)}  # the features, and their average over the image


@pytest.mark.slow
def test_dilated_blocks_see_what_is_two_cells_away():
    block = InvertedResidual(features=4, expansion=2, stride=1, dilation=2)
    x = jnp.asarray(np.random.default_rng(0).random((1, 7, 7, 4)), jnp.float32)
    variables = block.init(jax.random.key(0), x)
    change = block.apply(variables, x.at[0, 3, 3].add(1.0)) - block.apply(variables, x)
    touched = np.abs(change[0]).max(-1) > 1e-6
    assert touched.sum() <= 9
    assert {tuple(place % 2) for place in np.argwhere(touched)} == {(1, 1)}


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="head=0: give a positive number"):
        zoo.create(NAME, head=0)
