import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import largest_difference
from single_op import Case

from attokit.quant.ops import table
from attokit.quant.ops.batch_matmul import accumulate
from attokit.quant.ops.kind import Op


def _four(_, x, y):
    t = y.transpose(0, 2, 1)
    return x @ y, jnp.einsum("bji,bjk->bik", x, t), jnp.einsum("bij,bkj->bik", x, t), x @ y[0, None]


CASE = Case("batch_matmul", _four, (), ((2, 5, 5), (2, 5, 5)))


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_integers_equal_the_kernels_formula(kernels):
    assert largest_difference(CASE, kernels) == 0


def test_sums_beyond_float32_are_exact():
    rng = np.random.default_rng(1)
    x = np.where(rng.random((2, 3, 700)) < 0.99, 255, -254).astype(np.float32)
    y = np.where(rng.random((2, 700, 4)) < 0.99, 255, -254).astype(np.float32)
    want = x.astype(np.int64) @ y.astype(np.int64)
    assert np.abs(want).max() > 2**24
    np.testing.assert_array_equal(jax.jit(accumulate)(x, y), want)


@pytest.mark.parametrize("adj_x", [False, True])
def test_macs_count_every_product(adj_x):
    attributes = {"adj_x": adj_x, "adj_y": False}
    op = Op(kind="batch_matmul", inputs=("x", "y"), outputs=("z",), attributes=attributes)
    shapes = {"x": (2, 6, 3) if adj_x else (2, 3, 6), "y": (2, 6, 5), "z": (2, 3, 5)}
    assert table.OPS[op.kind].macs(op, shapes.__getitem__) == 2 * 3 * 5 * 6
