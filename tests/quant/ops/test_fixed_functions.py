import numpy as np
import pytest

from attokit.quant.ops import fixed_functions

_UNIT = 2.0**-31
_VALUES = np.concatenate(
    [np.linspace(-15, 15, 4001), [0, 2.0**-27, -(2.0**-27), 0.25, -0.25, 0.5, 8, -8]]
)
_RAW = np.round(_VALUES * 2**27).astype(np.int32)


@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (fixed_functions.logistic, lambda x: 1 / (1 + np.exp(-x))),
        (fixed_functions.tanh, np.tanh),
    ],
)
def test_functions_of_either_sign(function, exact):
    found = np.asarray(function(_RAW)).astype(np.float64) * _UNIT
    # The exponential is a Taylor series of four terms: (1/8)**5 / 5! of it is missing.
    np.testing.assert_allclose(found, exact(_RAW / 2**27), rtol=0, atol=1.5e-7)


@pytest.mark.parametrize("fraction", [26, 27])
def test_exponential(fraction):
    raw = np.append(np.linspace(-(2**31) + 1, -1, 5001), 0).astype(np.int32)
    found = np.asarray(fixed_functions.exp_negative(raw, fraction=fraction)) * _UNIT
    np.testing.assert_allclose(found, np.exp(raw / 2.0**fraction), rtol=0, atol=3e-7)


def test_reciprocal():
    raw = np.linspace(0, 2**31 - 1, 5001).astype(np.int32)
    found = np.asarray(fixed_functions.one_over_one_plus(raw)) * _UNIT
    np.testing.assert_allclose(found, 1 / (1 + raw * _UNIT), rtol=0, atol=1e-8)
