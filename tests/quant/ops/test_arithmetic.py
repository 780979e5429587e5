import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import largest_difference
from single_op import Case

from attokit.quant.ops.arithmetic import aligned


def _all(variables, x, y):
    channels, scalar = variables
    return (
        jax.nn.relu(x + y),
        x + jnp.mean(y, (1, 2), keepdims=True),
        y + channels,
        x - y,
        channels - y,
        jnp.minimum(jax.nn.relu(x * y), 6),
        x * scalar,
    )


CASE = Case("add", _all, ((1, 1, 1, 3), ()), ((2, 5, 4, 3), (2, 5, 4, 3)))


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_integers_equal_the_kernels_formulas(kernels):
    assert largest_difference(CASE, kernels) == 0


def test_aligned_adds_leading_axes():
    first, second = aligned(np.ones((2, 3)), np.ones((4, 2, 3)))
    assert (first.shape, second.shape) == ((1, 2, 3), (4, 2, 3))
