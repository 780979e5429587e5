import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import largest_difference
from single_op import Case

from attokit.quant.ops import table
from attokit.quant.ops.fully_connected import accumulate
from attokit.quant.ops.kind import Op


def _both(variables, x, y):
    kernel, bias, wide = variables
    return jax.nn.relu(x @ kernel + bias.reshape(1, -1)), y @ wide


CASE = Case("fully_connected", _both, ((20, 7), (7,), (600, 3)), ((5, 20), (2, 3, 600)))


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_integers_equal_the_kernels_formula(kernels):
    assert largest_difference(CASE, kernels) == 0


def test_sums_beyond_float32_are_exact():
    rng = np.random.default_rng(1)
    x = np.where(rng.random((3, 1300)) < 0.9, 255, -254).astype(np.float32)
    k = np.where(rng.random((1300, 4)) < 0.9, 127, -126).astype(np.float32)
    want = x.astype(np.int64) @ k.astype(np.int64)
    assert np.abs(want).max() > 2**24
    np.testing.assert_array_equal(jax.jit(accumulate)(x, k), want)


def test_macs_count_every_row():
    op = Op(kind="fully_connected", inputs=("x", "k"), outputs=("y",))
    shapes = {"x": (2, 5, 6), "k": (6, 7), "y": (2, 5, 7)}
    assert table.OPS[op.kind].macs(op, shapes.__getitem__) == 2 * 5 * 6 * 7


def test_float_meaning_takes_any_rank():
    op = Op(kind="fully_connected", inputs=("x", "k", "b"), outputs=("y",))
    x, k, b = jnp.ones((2, 1, 3)), jnp.ones((3, 2)), jnp.float32([1, 2])
    (y,) = table.OPS[op.kind].compute(op, x, k, b)
    np.testing.assert_array_equal(y, np.float32([[[4, 5]], [[4, 5]]]))
