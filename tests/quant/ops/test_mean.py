import jax.numpy as jnp
from integer_oracles import largest_difference
from single_op import Case


def _all(variables, x, y):
    del variables
    return (
        jnp.mean(x, (1, 2)),
        jnp.mean(x, (1, 2), keepdims=True),
        jnp.mean(x, -1),
        jnp.mean(y, (1, 2)),
    )


def test_integers_equal_the_kernels_formula():
    case = Case("mean", _all, (), ((2, 7, 8, 4), (1, 61, 47, 2)))
    assert largest_difference(case, "reference", draws=6) == 0
