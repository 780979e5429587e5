import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import largest_difference
from single_op import Case

from attokit.quant.ops import table
from attokit.quant.ops.kind import Op


def test_extremes_are_of_the_stored_integers():
    def function(_, x):
        return jnp.max(x, (1, 2)), jnp.min(2 * x, -1, keepdims=True)

    assert largest_difference(Case("reduce_max", function), "reference") == 0


@pytest.mark.parametrize(("kind", "want"), [("arg_max", [1, 0]), ("arg_min", [0, 0])])
def test_the_first_of_equal_values_counts(kind, want):
    op = Op(kind=kind, inputs=("x",), outputs=("y",), attributes={"axis": 1})
    (found,) = table.OPS[kind].compute(op, jnp.asarray([[1.0, 2, 2], [3, 3, 3]]))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, want)
