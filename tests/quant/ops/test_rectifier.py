import jax
import jax.numpy as jnp
import pytest
from integer_oracles import largest_difference
from single_op import Case


def _all(variables, x):
    del variables
    return (
        jax.nn.relu(x),
        jax.nn.relu6(jnp.transpose(x, (0, 2, 1))),
        jnp.clip(jnp.transpose(x, (1, 0, 2)), -1, 1),
        jnp.concatenate([jax.nn.softmax(x), 3 * x], -1),
    )


CASE = Case("relu_n1_to_1", _all, (), ((3, 5, 6),))


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_integers_equal_the_kernels_formulas(kernels):
    assert largest_difference(CASE, kernels) == 0
