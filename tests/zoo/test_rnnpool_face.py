import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant, zoo
from attokit.zoo.rnnpool_face import Stage

# Parameters, and millions of multiply-accumulates without and of RNNPool as the reference counts them.
REFERENCE = {
    "rnnpool_face_c": (1_526_098, 969.7, 1046.3),
    "rnnpool_face_quant": (71_154, 103.3, 76.4),
    "rnnpool_face_qvga": (338_538, 146.3, 64.9),
    "rnnpool_face_m4": (56_330, 38.5, 64.9),
}


def _pool_macs(config):
    """Returns what RNNPool costs by the reference and by this zoo's count."""
    height, width = (n // (config.multiple // 4) for n in config.image_size[:2])
    channels = config.stem[-1][0] if config.stem else config.image_size[2]
    hidden, side, step = config.hidden, 8, 4
    patches = ((height - side) // step + 1) * ((width - side) // step + 1)
    per_patch = 2 * side**2 * (channels * hidden + hidden**2) + 8 * side * hidden**2
    x = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
    layer = zoo.RNNPool((hidden, hidden), side, stride=step)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    return per_patch * patches, zoo.count_macs(layer.apply, variables, x)


@pytest.mark.parametrize("name", REFERENCE)
def test_counts_of_the_reference_implementation(name):
    parameters, convolutions, pool = REFERENCE[name]
    info = zoo.info(name)
    assert (info.parameters, info.task) == (parameters, "detection")
    by_reference, ours = _pool_macs(zoo.config(name))
    assert round((info.macs - ours) / 1e6, 1) == convolutions
    assert round(by_reference / 1e6, 1) == pool
    assert ours < by_reference


@pytest.mark.parametrize("name", REFERENCE)
def test_every_prior_box_has_its_outputs(name):
    model = zoo.create(name)
    for size in (zoo.config(name).image_size[:2], (64, 48)):
        images = jax.ShapeDtypeStruct((2, *size, model.config.image_size[2]), jnp.float32)
        outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        n = len(model.config.priors(size))
        assert {key: v.shape for key, v in outputs.items()} == {
            "boxes": (2, n, 4),
            "scores": (2, n, 2),
        }


@pytest.mark.slow
def test_padding_as_tflite_has_it_is_no_operator():
    images = jnp.zeros((1, 16, 16, 1))
    shapes, kinds = [], []
    for padding in ("symmetric", "same"):
        model = zoo.create("rnnpool_face_m4", padding=padding, freeze_gate_scalars=True)
        outputs, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        shapes.append(jax.tree.map(np.shape, (outputs, variables)))
        variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, leaf.dtype), variables)
        kinds.append([op.kind for op in quant.trace(model.apply, variables, images)[0].ops])
    assert shapes[0] == shapes[1]
    assert "pad" in kinds[0]
    assert "pad" not in kinds[1]


def test_more_classes_than_one():
    model = zoo.create("rnnpool_face_m4", num_classes=11, image_size=(64, 64, 1))
    images = jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32)
    outputs, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert outputs["scores"].shape == (1, 160, 11)
    assert variables["params"]["scores1"]["kernel"].shape[-1] == 13


@pytest.mark.parametrize("size", [(20, 24), (8, 24)])
def test_refuses_sizes_whose_maps_would_not_meet_the_priors(size):
    model = zoo.create("rnnpool_face_m4")
    images = jax.ShapeDtypeStruct((1, *size, 1), jnp.float32)
    message = f"{size[0]}x{size[1]}: this detector takes multiples of 8 pixels from 16 on"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), images)
    with pytest.raises(ValueError, match=message):
        model.config.priors(size)


def test_refuses_configs_that_no_network_can_have():
    with pytest.raises(ValueError, match="num_classes=1"):
        zoo.create("rnnpool_face_m4", num_classes=1)
    with pytest.raises(ValueError, match="padding='valid': choose from symmetric, same"):
        zoo.create("rnnpool_face_m4", padding="valid")
    with pytest.raises(ValueError, match="hidden=0"):
        zoo.create("rnnpool_face_m4", hidden=0)
    with pytest.raises(ValueError, match="4 heads, prior_steps=\\(8,\\)"):
        zoo.create("rnnpool_face_m4", prior_steps=(8,))
    with pytest.raises(ValueError, match="give a stem"):
        zoo.create(
            "rnnpool_face_m4",
            stem=(),
            stem_norm_scale=1.0,
            stages=(Stage(expansion=2, features=8, blocks=1, stride=1),) * 3,
        )


def test_the_mean_of_the_reference_is_nothing():
    """A grey image of EdgeML's mean is zeros after the first step, so only biases speak."""
    config = zoo.config("rnnpool_face_quant")
    image = np.array([123, 117, 104]) / 255
    np.testing.assert_allclose(image, config.input_mean, atol=1e-12)
    assert config.input_std == (1 / 255,) * 3
