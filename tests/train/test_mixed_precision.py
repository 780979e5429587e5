import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.train.forward import flax_forward, split_variables
from attokit.train.mixed_precision import check_compute_dtype, in_bfloat16


def test_masters_state_and_outputs_stay_float32():
    seen = {}

    def forward(params, model_state, inputs, *, train, key):
        seen.update(kernel=params["kernel"].dtype, inputs=inputs.dtype, mean=model_state["mean"])
        return inputs @ params["kernel"], {"mean": inputs.mean(0), "count": model_state["count"]}

    params = {"kernel": jnp.full((2, 3), 1 / 3, jnp.float32)}
    state = {"mean": jnp.zeros(2), "count": jnp.int32(4)}

    def loss(params):
        outputs, changed = in_bfloat16(forward)(
            params, state, jnp.ones((5, 2)), train=True, key=jax.random.key(0)
        )
        return outputs.sum(), (outputs, changed)

    slopes, (outputs, changed) = jax.grad(loss, has_aux=True)(params)
    assert (seen["kernel"], seen["inputs"]) == (jnp.bfloat16, jnp.bfloat16)
    assert seen["mean"].dtype == jnp.float32  # sums over many steps keep their digits
    assert {leaf.dtype for leaf in (outputs, slopes["kernel"], changed["mean"])} == {
        jnp.dtype("float32")
    }
    assert changed["count"] == 4
    rounded = jnp.float32(jnp.bfloat16(1 / 3))
    np.testing.assert_array_equal(outputs, jnp.full((5, 3), jnp.bfloat16(2 * rounded), jnp.float32))
    np.testing.assert_array_equal(slopes["kernel"], np.full((2, 3), 5, np.float32))


def test_what_training_shows_beside_images_keeps_its_digits():
    def forward(params, model_state, inputs, *, train, key):
        assert inputs["images"].dtype == jnp.bfloat16
        return inputs["boxes"] + params["shift"].astype(jnp.float32), model_state

    boxes = jnp.asarray([[300.4, 257, 511.5, 400.25]])
    outputs, _ = in_bfloat16(forward)(
        {"shift": jnp.zeros((1, 4))},
        {},
        {"images": jnp.ones((1, 2, 2, 3)), "boxes": boxes},
        train=True,
        key=jax.random.key(0),
    )
    np.testing.assert_array_equal(outputs, boxes)


def _gradients(name, **overrides):
    """Returns shapes of the gradient of a model of the zoo in bfloat16."""
    model = zoo.create(name, **overrides)
    size = zoo.config(name, **overrides).image_size
    images = jax.ShapeDtypeStruct((2, *size), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def gradients(params, state, images):
        def loss(params):
            forward = in_bfloat16(flax_forward(model))
            outputs, changed = forward(params, state, images, train=True, key=jax.random.key(0))
            floats = [x for x in jax.tree.leaves(outputs) if jnp.issubdtype(x.dtype, jnp.floating)]
            assert all(leaf.dtype == jnp.float32 for leaf in floats)  # a detector gives classes too
            return sum(leaf.sum() for leaf in floats), changed

        return jax.grad(loss, has_aux=True)(params)

    params, state = split_variables(variables)
    slopes, changed = jax.eval_shape(gradients, params, state, images)
    for new, old in ((slopes, params), (changed, state)):
        jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or 1 / 0, new, old)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_every_model_of_the_zoo(name):
    _gradients(name)


def test_other_types():
    with pytest.raises(ValueError, match="compute_dtype is 'float16': choose float32 or bfloat16"):
        check_compute_dtype("float16")
