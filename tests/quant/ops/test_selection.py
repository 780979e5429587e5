import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit.quant.ops import selection
from attokit.quant.ops.kind import Op

X, Y = normal(3, 4), normal(4, seed=1)


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        (selection.MAXIMUM, np.maximum),
        (selection.MINIMUM, np.minimum),
        (selection.EQUAL, np.equal),
        (selection.NOT_EQUAL, np.not_equal),
        (selection.LESS, np.less),
        (selection.LESS_EQUAL, np.less_equal),
        (selection.GREATER, np.greater),
        (selection.GREATER_EQUAL, np.greater_equal),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_operands_broadcast(kind, function):
    (result,) = kind.compute(Op(kind=kind.name, inputs=(), outputs=()), X, Y)
    np.testing.assert_array_equal(result, function(X, Y))


def test_a_condition_chooses():
    op = Op(kind="select", inputs=(), outputs=())
    (result,) = selection.SELECT.compute(op, X > 0, X, jnp.float32(7))
    np.testing.assert_array_equal(result, np.where(X > 0, X, 7))
