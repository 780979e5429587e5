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
    strided = {"begin": (0, 1), "end": (2, 6), "strides": (1, 2), "keeps_batch": True}
    np.testing.assert_array_equal(_moved("strided_slice", x, **strided), x[:, 1:6:2])
    np.testing.assert_array_equal(_moved("slice", x, begin=(0, 2), size=(-1, 3)), x[:, 2:5])


def test_a_strided_batch_is_cut_as_traced():
    strided = {"begin": (1, 0), "end": (4, 2), "strides": (2, 1), "keeps_batch": False}
    x = jnp.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(_moved("strided_slice", x, **strided), x[1:4:2])
