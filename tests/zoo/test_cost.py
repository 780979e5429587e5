import jax
import jax.numpy as jnp
import pytest
from jax import lax

from attokit.zoo.convolution import conv
from attokit.zoo.cost import count_macs, count_parameters


def test_counts_trained_numbers_only():
    variables = {"params": {"kernel": jnp.ones((3, 3, 1, 2))}, "batch_stats": {"mean": jnp.ones(9)}}
    assert count_parameters(variables) == 18
    with pytest.raises(ValueError, match="no 'params' among"):
        count_parameters({"batch_stats": {}})


def test_convolutions_by_hand():
    x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 2, 6))
    macs = count_macs(lambda x, k: conv(x, k, groups=2, strides=2), x, kernel)
    assert macs == (2 * 4 * 4 * 6) * (3 * 3 * 2)


def test_interpolation_is_no_product():
    x = jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.float32)
    assert count_macs(lambda x: jax.image.resize(x, (1, 8, 8, 3), "bilinear"), x) == 0


def test_products_inside_other_programs():
    a, b = jax.ShapeDtypeStruct((5, 3), jnp.float32), jax.ShapeDtypeStruct((3, 3), jnp.float32)

    def loop(a, b):
        return lax.scan(lambda carry, _: (jax.checkpoint(jnp.dot)(carry, b), None), a, length=4)[0]

    assert count_macs(jax.jit(loop), a, b) == 4 * 5 * 3 * 3
    assert count_macs(lambda a, b: jnp.einsum("ij,jk->ik", a, b), a, b) == 45


def test_branches():
    x = jnp.ones((3, 3))
    product = lambda x: x @ x  # noqa: E731 - a branch
    assert count_macs(lambda x: lax.cond(x[0, 0] > 0, product, lambda x: x, x), x) == 27
    by_platform = lambda x: lax.platform_dependent(x, cpu=product, default=lambda x: x)  # noqa: E731
    assert count_macs(by_platform, x) == 0


def test_refuses_a_loop_without_known_length():
    loop = lambda x: lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ x, x)  # noqa: E731
    with pytest.raises(ValueError, match="number of turns is not known"):
        count_macs(loop, jnp.ones((2, 2)))
