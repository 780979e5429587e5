import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from attokit.train.forward import flax_forward, split_variables


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(2)(x)


def test_linen_module_as_a_pure_function():
    model, x = Net(), jnp.arange(8.0).reshape(4, 2)
    params, state = split_variables(model.init(jax.random.key(0), x))
    forward = flax_forward(model)
    key = jax.random.key(1)
    outputs, same = forward(params, state, x, train=False, key=key)
    np.testing.assert_array_equal(outputs, model.apply({"params": params, **state}, x))
    assert same is state
    trained, changed = forward(params, state, x, train=True, key=key)
    assert jax.tree.structure(changed) == jax.tree.structure(state)
    np.testing.assert_allclose(changed["batch_stats"]["BatchNorm_0"]["mean"], [1.5, 2.0])
    other, _ = forward(params, state, x, train=True, key=jax.random.key(2))
    assert not np.array_equal(trained, other)  # the key feeds dropout


def test_a_lesson_takes_the_place_of_the_call_in_training():
    model, x = Net(), jnp.arange(8.0).reshape(4, 2)

    def lesson(module, inputs, key):
        noise = jax.random.normal(key, inputs["x"].shape)
        return module(inputs["x"], train=True), inputs["truth"], noise

    params, state = split_variables(model.init(jax.random.key(0), x))
    forward, key = flax_forward(model, learn=lesson), jax.random.key(1)
    inputs = {"x": x, "truth": jnp.ones(4)}
    (said, truth, noise), changed = forward(params, state, inputs, train=True, key=key)
    want, same = flax_forward(model)(params, state, x, train=True, key=key)
    np.testing.assert_array_equal(said, want)
    jax.tree.map(np.testing.assert_array_equal, changed, same)
    np.testing.assert_array_equal(truth, 1)
    np.testing.assert_array_equal(noise, jax.random.normal(key, x.shape))
    outputs, _ = forward(params, state, x, train=False, key=key)  # inference sees images alone
    np.testing.assert_array_equal(outputs, model.apply({"params": params, **state}, x))


def test_module_without_state():
    model = nn.Dense(2)

    class Wrapped(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return model.copy(name="dense")(x)

    params, state = split_variables(Wrapped().init(jax.random.key(0), jnp.ones((1, 2))))
    assert state == {}
    _, changed = flax_forward(Wrapped())(
        params, state, jnp.ones((1, 2)), train=True, key=jax.random.key(0)
    )
    assert changed == {}
