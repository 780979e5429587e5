import flax.linen as nn
import jax
import numpy as np
import pytest
from traced import normal, variables_of

from attokit import zoo
from attokit.zoo.backbone import stride_of

# Channels of the maps with a stride of 2, 4, 8, 16 and 32, of timm's networks.
REFERENCE = {
    "mobilenet_v1": (64, 128, 256, 512, 1024),
    "mobilenet_v2": (16, 24, 32, 96, 320),
    "mobilenet_v3_small": (16, 16, 24, 48, 576),
    "resnet50": (64, 256, 512, 1024, 2048),
}


_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in REFERENCE if name[-1] != "l"]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", *_SLOW])
def test_maps_have_their_channels_and_strides(name):
    maps = zoo.feature_maps(name)
    assert [m.name for m in maps] == ["c1", "c2", "c3", "c4", "c5"]
    assert [m.stride for m in maps] == [2, 4, 8, 16, 32]
    assert tuple(m.channels for m in maps) == REFERENCE[name]


def test_networks_that_start_by_pooling_have_fewer_maps_and_small_images_finer_ones():
    assert [m.name for m in zoo.feature_maps("rnnpool_vww")] == ["c1", "c3", "c4", "c5"]
    small = zoo.feature_maps("attonet_d", small_images=True)
    assert [(m.name, m.stride) for m in small] == [("c0", 1), ("c1", 2), ("c2", 4), ("c3", 8)]


class _Halving(zoo.Backbone):
    """As many halvings as the config says, each after a layer that keeps the resolution."""

    @nn.nowrap
    def stages(self, images, *, train):
        x = images
        for step in range(self.config):
            x = nn.Dense(2, name=f"keep{step}")(x)
            yield 2**step, x
            x = nn.Dense(3, name=f"halve{step}")(x)[:, ::2, ::2]
            yield 2 ** (step + 1), x

    @nn.nowrap
    def classify(self, x, *, train):
        return nn.Dense(4, name="head")(x.mean((1, 2)))


def test_the_body_is_the_classifier_without_its_head():
    """Same variables less the head's; the head on the last map is the classifier; later maps of a stride count."""
    images = normal(2, 8, 8, 3)
    whole, body = _Halving(2), _Halving(2, features_only=True)
    variables = variables_of(whole, images)
    params = dict(variables["params"])
    head = params.pop("head")
    shapes = jax.eval_shape(body.init, jax.random.key(0), images)
    assert shapes["params"].keys() == params.keys()
    maps = body.apply({"params": params}, images)
    assert {name: x.shape for name, x in maps.items()} == {
        "c0": (2, 8, 8, 2),
        "c1": (2, 4, 4, 2),
        "c2": (2, 2, 2, 3),
    }
    logits = maps["c2"].mean((1, 2)) @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(logits, whole.apply(variables, images), atol=1e-5)


def test_names_stand_for_strides():
    assert [stride_of(name) for name in ("c0", "c2", "c6")] == [1, 4, 64]
    with pytest.raises(ValueError, match="no map is called 'p2'"):
        stride_of("p2")
