import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import largest_difference
from single_op import Case

from attokit.quant.ops import table
from attokit.quant.ops.kind import Op


def _all(variables, x):
    del variables
    scaled = 2 * x
    return (
        jnp.concatenate([scaled, jax.nn.relu(scaled)], 1),
        jnp.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))).transpose(0, 3, 1, 2),
        jnp.split(x.reshape(2, -1), 4, axis=1)[1],
        x[:, 1:3, ::2],
    )


def test_integers_are_moved_and_never_changed():
    assert largest_difference(Case("strided_slice", _all), "reference") == 0


def _moved(kind, values, **attributes):
    op = Op(kind=kind, inputs=("x",), outputs=("y",), attributes=attributes)
    (result,) = table.OPS[kind].compute(op, values)
    return result


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_batch_that_goes_through_may_differ_from_the_traced_one(batch):
    x = jnp.arange(batch * 6, dtype=jnp.float32).reshape(batch, 6)
    assert _moved("reshape", x, shape=(2, 3, 2), given=(2, 6), keeps_batch=True).shape == (
        batch,
        3,
        2,
    )
    windows = _moved("reshape", x, shape=(6, 2), given=(2, 6), keeps_batch=False)
    assert windows.shape == (3 * batch, 2)
    first = {"shape": (1, 2, 6), "given": (2, 6), "keeps_batch": False}
    assert _moved("reshape", jnp.tile(x, (2, 1)), **first).shape == (1, 2 * batch, 6)
    strided = {"begin": (0, 1), "end": (2, 6), "strides": (1, 2), "keeps_batch": True}
    np.testing.assert_array_equal(_moved("strided_slice", x, **strided), x[:, 1:6:2])
    np.testing.assert_array_equal(_moved("slice", x, begin=(0, 2), size=(-1, 3)), x[:, 2:5])


def test_a_strided_batch_is_cut_as_traced():
    strided = {"begin": (1, 0), "end": (4, 2), "strides": (2, 1), "keeps_batch": False}
    x = jnp.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(_moved("strided_slice", x, **strided), x[1:4:2])


def test_what_is_the_same_for_every_example_is_joined_to_each():
    x = jnp.arange(12.0).reshape(3, 2, 2)
    (found,) = table.OPS["concatenation"].compute({"axis": 1}, jnp.full((1, 1, 2), 9.0), x)
    assert found.shape == (3, 3, 2)
    assert (found[:, 0] == 9).all()


def test_indices_are_wrapped_and_bounded():
    indices = jnp.asarray([0, 3, 4, -1, -4, -9, 2**31 - 1, -(2**31)], jnp.int32)
    found = _moved("bounded_index", indices, size=4, wraps=True)
    assert found.tolist() == [0, 3, 3, 3, 0, 0, 3, 0]
    found = _moved("bounded_index", indices, size=4, wraps=False)
    assert found.tolist() == [0, 3, 3, 0, 0, 0, 3, 0]
