import jax
import numpy as np
from integer_oracles import largest_difference, softmax
from single_op import Case

from attokit.quant import fixed_point
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Scales

CASE = Case("softmax", lambda _, x: jax.nn.softmax(x), (), ((40, 10),))
_OP = Op(kind="softmax", inputs=("x",), outputs=("y",))


@jax.jit
def _integers(values, scale):
    scales = Scales(inputs=(scale,), outputs=(np.float32(1 / 256),))
    multipliers = fixed_point.multipliers(table.OPS["softmax"].ratios(_OP, scales, "reference"))
    (result,) = table.OPS["softmax"].integer(_OP, "reference", (values,), multipliers, scales)
    return result.integers


def test_integers_equal_the_kernels_formula():
    assert largest_difference(CASE, "reference", draws=5) == 0


def test_scales_from_tiny_to_huge_equal_the_formula():
    rng = np.random.default_rng(0)
    stored = rng.integers(-128, 128, (64, 7))
    stored[:16] = stored[:16] // 16
    for scale in np.float32([1e-6, 1e-4, 0.003, 0.05, 0.3, 1, 8, 40, 300]):
        got = np.asarray(_integers(stored.astype(np.float32), scale)) - 128
        np.testing.assert_array_equal(got, softmax(stored, scale))


def test_one_value_is_certain_and_equal_values_share():
    assert int(_integers(np.zeros((1, 7), np.float32), np.float32(0.1))[0, 0]) in (36, 37)
    row = np.float32([[90, -128, -128, -128, -128, -128, -128]])
    got = np.asarray(_integers(row, np.float32(1)))
    np.testing.assert_array_equal(np.minimum(got, 255), [[255, 0, 0, 0, 0, 0, 0]])
