import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.attonet import VARIANTS, AttoModule, AttoNetConfig, Module

# Parameters and multiply-accumulates at 50 classes and 224x224.
BUDGETS = {
    "attonet_a": (2_970_000, 425_000_000),
    "attonet_b": (1_870_000, 278_000_000),
    "attonet_c": (980_000, 150_000_000),
    "attonet_d": (326_000, 57_000_000),
}
ROW = {"bottleneck": 8, "groups": 2, "pointwise": 8, "width": 16}


@pytest.mark.parametrize("name", BUDGETS)
def test_stays_just_within_the_budget(name):
    parameters, macs = BUDGETS[name]
    info = zoo.info(name, num_classes=50)
    assert 0.85 * parameters < info.parameters <= parameters
    assert 0.85 * macs < info.macs <= macs


@pytest.mark.parametrize("name", VARIANTS)
def test_has_69_convolutions_in_16_modules_that_differ(name):
    model = zoo.create(name)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert str(jax.tree.structure(variables["params"])).count("'kernel'") == 69 + 1  # and the head
    modules = model.config.modules
    assert [i for i, module in enumerate(modules, 1) if module.kind == "B"] == [1, 4, 8, 14]
    assert len({(module.bottleneck, module.pointwise) for module in modules}) > 6
    assert len({module.groups for module in modules}) > 1


@pytest.mark.slow
def test_small_images_keep_their_resolution():
    small = zoo.create("attonet_d", small_images=True, num_classes=10)
    assert small.config.image_size == (28, 28, 1)
    assert zoo.create("attonet_d").config.image_size == (224, 224, 3)
    for small_images, size in ((True, (224, 224, 3)), (False, (28, 28, 1))):  # as asked for
        config = zoo.config("attonet_d", small_images=small_images, image_size=size)
        assert config.image_size == size
        assert zoo.info("attonet_d", small_images=small_images, image_size=size).image_size == size
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)

    def features(images):
        return small.init_with_output(jax.random.key(0), images, mutable=True)

    logits, variables = jax.eval_shape(features, images)
    assert logits.shape == (2, 10)
    assert variables["params"]["stem"]["conv"]["kernel"].shape[:3] == (3, 3, 1)


@pytest.mark.slow
def test_a_module_starts_as_its_shortcut_and_can_leave_it():
    module, x = AttoModule(Module(**ROW)), jax.random.normal(jax.random.key(1), (2, 4, 4, 16))
    variables = jax.jit(module.init)(jax.random.key(0), x)
    np.testing.assert_array_equal(module.apply(variables, x), nn.relu(x))

    @jax.jit
    def gradient(params):
        def loss(params):
            y, _ = module.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(y**2)

        return jax.grad(loss)(params)

    slopes = gradient(variables["params"])
    assert jnp.any(slopes["restore"]["norm"]["scale"] != 0)


def test_configs_are_static_arguments():
    config = VARIANTS["attonet_d"]
    assert hash(config) == hash(dataclasses.replace(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 3}, "bottleneck=8 does not divide into groups=3"),
        ({"stride": 2}, "stride=2 in a type A"),
        ({"width": 0}, "width=0"),
        ({"kind": "C"}, "kind='C'"),
    ],
)
def test_refuses_bad_modules(change, message):
    with pytest.raises(ValueError, match=message):
        Module(**{**ROW, **change})


def test_refuses_modules_that_do_not_fit_together():
    row = Module(**ROW)
    with pytest.raises(ValueError, match="3 modules: give 16"):
        AttoNetConfig(stem=16, modules=(row,) * 3)
    with pytest.raises(ValueError, match="module 1 of type A turns 8 channels into 16"):
        AttoNetConfig(stem=8, modules=(row,) * 16)
    with pytest.raises(ValueError, match="num_classes=0"):
        AttoNetConfig(stem=16, modules=(row,) * 16, num_classes=0)
