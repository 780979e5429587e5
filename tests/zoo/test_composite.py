import jax
import jax.numpy as jnp
import numpy as np

from attokit.zoo.composite import NAME, composite


def _of_arrays(x, rows, *, gain):
    return {"taken": (jnp.sin(x) * gain)[rows], "next": rows + 1}


def _named(x, rows):
    return composite("own", _of_arrays, x, rows, gain=2.0)


X, ROWS = jnp.arange(5.0), jnp.asarray([0, 3])
IMAGES = jnp.stack([X, 2.0 * X, -X])


def _equal(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, wanted)


def _only_equation(function, *args):
    (eqn,) = jax.make_jaxpr(function)(*args).eqns
    assert eqn.primitive.name == NAME
    return eqn.params


def test_it_is_the_function_that_it_names():
    wanted = _of_arrays(X, ROWS, gain=2.0)
    _equal(_named(X, ROWS), wanted)
    _equal(jax.jit(_named)(X, ROWS), wanted)


def test_a_jaxpr_shows_name_and_settings():
    params = _only_equation(_named, X, ROWS)
    assert (params["name"], params["settings"]) == ("own", (("gain", 2.0),))
    assert params["batched"] is None


def test_the_name_survives_one_vmap():
    mapped = jax.vmap(_named, (1, None))
    params = [
        e.params for e in jax.make_jaxpr(mapped)(IMAGES.T, ROWS).eqns if e.primitive.name == NAME
    ]
    assert [(p["name"], p["batched"]) for p in params] == [("own", (True, False))]
    wanted = jax.vmap(lambda x: _of_arrays(x, ROWS, gain=2.0))(IMAGES)
    _equal(jax.jit(mapped)(IMAGES.T, ROWS), wanted)


def test_two_vmaps_give_the_function_itself():
    twice = jax.vmap(jax.vmap(_named, (0, None)), (0, None))
    text = str(jax.make_jaxpr(twice)(IMAGES[None], ROWS))
    assert NAME not in text
    _equal(
        twice(IMAGES[None], ROWS)["taken"][0], jax.vmap(_named, (0, None))(IMAGES, ROWS)["taken"]
    )


def test_gradients_are_those_of_the_function():
    def total(function, x):
        return jnp.sum(function(x, ROWS)["taken"] ** 2)

    wanted = jax.grad(lambda x: total(lambda x, r: _of_arrays(x, r, gain=2.0), x))(X)
    _equal(jax.jit(jax.grad(lambda x: total(_named, x)))(X), wanted)
    many = jax.grad(lambda x: jnp.sum(jax.vmap(lambda x: total(_named, x))(x)))(IMAGES)
    _equal(many[0], wanted)
    tangent = jax.jvp(lambda x: total(_named, x), (X,), (jnp.ones(5),))[1]
    _equal(tangent, wanted.sum())
