import jax
import jax.numpy as jnp
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(3, 6)


def _traced(function, variables=()):
    graph, weights = quant.trace(function, variables, X)
    assert error(graph, weights, function, variables, X) < 1e-5
    return graph, weights


def test_an_index_as_a_number_is_read_from_a_table():
    graph, _ = _traced(lambda _, x: jnp.argmax(x, -1).astype(jnp.float32))
    assert kinds(graph) == ["arg_max", "gather"]


def test_a_condition_as_a_number_is_a_choice():
    graph, _ = _traced(lambda _, x: (x > jnp.flip(x, -1)).astype(jnp.float32) * x)
    assert kinds(graph) == ["reverse", "greater", "select", "mul"]


def test_integers_that_meet_floats_are_refused_as_indices():
    match = (
        r"a conversion from int32 to float32 at .*\. Integers are indices here, and JAX converts"
    )
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(quant.UnsupportedOpError, match=match),
    ):
        quant.trace(lambda _, i: jax.nn.relu6(i), (), jnp.arange(6).reshape(2, 3))


def test_what_is_no_condition_and_no_index_is_refused():
    with pytest.raises(
        quant.UnsupportedOpError, match=r"a conversion from float32 to int32 at .*\d"
    ):
        quant.trace(lambda _, x: x.astype(jnp.int32), (), X)
