import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.attendseg_lite import AttendSegLite, AttendSegLiteConfig, LiteStage

TINY = AttendSegLiteConfig(
    stem=4,
    stages=(
        LiteStage(width=4, depth=1, condensed=0),
        LiteStage(width=8, depth=2, condensed=4),
        LiteStage(width=8, depth=1, condensed=4),
    ),
    num_classes=3,
)


def test_costs_are_within_the_budget():
    info = zoo.info("attendseg_lite")
    assert (info.parameters, info.macs, info.task) == (373_247, 529_596_416, "segmentation")
    assert info.parameters <= 4e5
    assert info.macs <= 1e9
    assert info.image_size == (256, 256, 3)


@pytest.mark.parametrize(
    ("output", "shape"),
    [("full", (1, 50, 37, 3)), ("quarter", (1, 13, 10, 3)), ("argmax", (1, 50, 37))],
)
def test_any_size_gives_answers_of_that_size(output, shape):
    model = AttendSegLite(dataclasses.replace(TINY, output=output))
    images = jnp.zeros((1, 50, 37, 3), jnp.float32)
    out, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert out.shape == shape


def test_stages_attend_where_they_are_told_to():
    images = jnp.zeros((1, 16, 24, 3), jnp.float32)
    params = jax.eval_shape(AttendSegLite(TINY).init, jax.random.key(0), images)["params"]
    assert sorted(params) == ["head", "refine1", "refine2", "stage1", "stage2", "stage3", "stem"]
    assert [("condenser" in params[f"stage{n}"]) for n in (1, 2, 3)] == [False, True, True]
    assert sorted(params["stage2"]) == ["condenser", "conv1", "conv2"]
    assert params["refine1"]["conv"]["kernel"].shape == (3, 3, 8 + 4, 4)


@pytest.mark.slow
def test_what_is_far_reaches_every_pixel():
    images = jnp.asarray(np.random.default_rng(0).random((1, 16, 24, 3)), jnp.float32)
    model, random = AttendSegLite(TINY), np.random.default_rng(3)
    noisy = jax.tree.map(
        lambda v: v + jnp.asarray(random.uniform(0.1, 0.3, v.shape), v.dtype),
        jax.jit(model.init)(jax.random.key(0), images),
    )
    apply = jax.jit(model.apply)
    change = apply(noisy, images.at[:, 0, 0].set(5.0)) - apply(noisy, images)
    assert np.abs(change[:, 12, 12]).min() > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": 0}, "stem=0: give a positive number"),
        ({"stages": ()}, r"stages=\(\): give at least one"),
        ({"output": "half"}, "output='half'"),
    ],
)
def test_impossible_configs_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **fields)


def test_impossible_stages_are_refused():
    with pytest.raises(ValueError, match="condensed=-1: give channels, or 0"):
        LiteStage(width=8, depth=1, condensed=-1)
    with pytest.raises(ValueError, match="depth=0: give a positive number"):
        LiteStage(width=8, depth=0, condensed=0)
