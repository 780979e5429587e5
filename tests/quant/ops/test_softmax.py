import functools

import jax
import numpy as np
import pytest
from integer_oracles import largest_difference, softmax
from single_op import Case

from attokit.quant import fixed_point
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Scales

CASE = Case("softmax", lambda _, x: jax.nn.softmax(x), (), ((40, 10),))
_OP = Op(kind="softmax", inputs=("x",), outputs=("y",))


@functools.partial(jax.jit, static_argnames=("kind", "kernels"))
def _integers(values, scale, kind="softmax", kernels="reference"):
    scales = Scales(inputs=(scale,), outputs=(None,), input_zero_points=(np.float32(3),))
    multipliers = fixed_point.multipliers(table.OPS[kind].ratios(_OP, scales, kernels))
    (result,) = table.OPS[kind].integer(_OP, kernels, (values,), multipliers, scales)
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


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_logarithms_equal_the_formula(kernels):
    rng = np.random.default_rng(0)
    rows = [rng.integers(-128, 128, (64, n)) for n in (1, 2, 7, 30, 900)]
    for scale in np.float32([1e-3, 0.05, 0.3, 8, 300]):
        for stored in rows:
            got = np.asarray(_integers(stored.astype(np.float32), scale, "log_softmax", kernels))
            d = (stored - stored.max(-1, keepdims=True)) * np.float64(scale)
            want = 16 * (d - np.log(np.exp(d).sum(-1, keepdims=True)))
            # A unit's half, the fixed point's error, and what saturates.
            low, high = np.floor(want - 0.5001) + 1, np.ceil(want + 0.5001) - 1
            assert ((got >= np.maximum(low, -300)) | (want < -255)).all()
            assert (got <= np.maximum(high, -255)).all()
