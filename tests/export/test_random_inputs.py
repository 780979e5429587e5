import dataclasses

import numpy as np
import pytest

from attokit.export.anatomy import TensorInfo
from attokit.export.random_inputs import random_input

SCALED = np.float32([0.5])
TENSOR = TensorInfo(
    name="x", shape=(1, 8, 8, 3), dtype="uint8", size=192, constant=False, scale=np.zeros(0), zero_point=np.zeros(0),
    axis=0,
)  # fmt: skip


def _drawn(**changes):
    tensor = dataclasses.replace(TENSOR, **changes)
    values = random_input(tensor, (20, *tensor.shape[1:]), np.random.default_rng(0))
    assert values.dtype == tensor.dtype
    return float(values.min()), float(values.max())


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        ({}, (0, 255)),
        ({"dtype": "int8"}, (-128, 127)),
        ({"shape": (1, 500), "dtype": "int8", "scale": SCALED}, (-128, 127)),
        ({"shape": (1, 500)}, (0, 1)),
        ({"dtype": "int32"}, (0, 1)),
        ({"dtype": "bool"}, (0, 1)),
    ],
)
def test_all_that_a_type_holds_unless_it_counts(changes, limits):
    assert _drawn(**changes) == limits


def test_reals_are_shares():
    low, high = _drawn(dtype="float32")
    assert 0 <= low < 0.01 and 0.99 < high < 1


def test_only_numbers_are_drawn():
    with pytest.raises(ValueError, match="input 'x' takes string, and only numbers are drawn"):
        _drawn(dtype="string")
