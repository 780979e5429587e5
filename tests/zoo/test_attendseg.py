import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.attendseg import AttendModule, AttendSeg, AttendSegConfig, Stage

TINY = AttendSegConfig(
    stem=8,
    stages=(
        Stage(width=8, bottleneck=8, condensed=4, depth=1),
        Stage(width=16, bottleneck=8, condensed=4, depth=1, groups=2),
    ),
    refinement=(8,),
    num_classes=3,
)


def test_costs_are_within_the_budget():
    info = zoo.info("attendseg")
    assert (info.parameters, info.macs, info.task) == (1_183_798, 2_516_582_400, "segmentation")
    assert abs(info.parameters / 1.19e6 - 1) <= 0.02
    assert info.macs <= 3e9
    assert info.image_size == (512, 512, 3)


def test_any_size_gives_logits_of_that_size():
    for output, shape in (("full", (1, 50, 37, 12)), ("quarter", (1, 13, 10, 12))):
        model = zoo.create("attendseg", output=output)
        images = jnp.zeros((1, 50, 37, 3), jnp.float32)
        out, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        assert out.shape == shape


@pytest.fixture(scope="module")
def tiny():
    images = jnp.asarray(np.random.default_rng(0).random((1, 16, 24, 3)), jnp.float32)
    model = AttendSeg(TINY)
    return model, jax.jit(model.init)(jax.random.key(0), images), images


@pytest.mark.slow
def test_every_parameter_gets_a_gradient(tiny):
    model, variables, images = tiny
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda p: p + jnp.asarray(rng.uniform(0.05, 0.1, p.shape), p.dtype), variables["params"]
    )

    @jax.jit
    def loss(params):
        state = {"params": params, "batch_stats": variables["batch_stats"]}
        logits, _ = model.apply(state, images, train=True, mutable=["batch_stats"])
        return (logits[:, ::2, :, 0] * logits[:, 1::2, :, 1]).sum()

    gradients = jax.jit(jax.grad(loss))(params)
    silent = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.any(np.asarray(g))
    ]
    assert not silent


def test_modules_start_as_their_shortcut():
    x = jnp.abs(jnp.asarray(np.random.default_rng(2).normal(size=(1, 4, 4, 16)), jnp.float32))
    module = AttendModule(TINY.stages[1], stride=1, attention="gate")
    out, _ = jax.jit(module.init_with_output)(jax.random.key(0), x)
    np.testing.assert_array_equal(out, x)


@pytest.mark.slow
def test_what_is_far_reaches_every_pixel(tiny):
    model, variables, images = tiny
    random = np.random.default_rng(3)
    noisy = jax.tree.map(
        lambda v: v + jnp.asarray(random.uniform(0.1, 0.3, v.shape), v.dtype), variables
    )
    apply = jax.jit(model.apply)
    change = apply(noisy, images.at[:, 0, 0].set(5.0)) - apply(noisy, images)
    assert np.abs(change[:, 12, 12]).min() > 0


def test_one_stage_needs_no_refinement():
    config = dataclasses.replace(TINY, stages=TINY.stages[:1], refinement=())
    out, _ = jax.eval_shape(
        AttendSeg(config).init_with_output, jax.random.key(0), jnp.zeros((1, 8, 8, 3), jnp.float32)
    )
    assert out.shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem": 0}, "stem=0: give a positive number"),
        ({"stages": (), "refinement": ()}, r"stages=\(\): give at least one"),
        ({"refinement": ()}, r"refinement=\(\) for 2 stages: give channels"),
        ({"refinement": (0,)}, r"refinement=\(0,\) for 2 stages: give channels"),
    ],
)
def test_impossible_configs_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **fields)


def test_impossible_stages_are_refused():
    with pytest.raises(ValueError, match="condensed=4 does not divide into groups=3"):
        Stage(width=8, bottleneck=8, condensed=4, depth=1, groups=3)
    with pytest.raises(ValueError, match="depth=0: give a positive number"):
        Stage(width=8, bottleneck=8, condensed=4, depth=0)
