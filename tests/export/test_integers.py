import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant
from attokit.export.integers import Ranges, integer_operands
from attokit.quant.plan import make_plans


def test_integers_are_those_that_training_sees(small):
    plans = make_plans(small.graph, small.weights, small.qparams, "reference")
    found = integer_operands(small.graph, small.weights, Ranges(small.graph, small.qparams))
    wanted = {
        (i, j): np.asarray(array)
        for i, plan in enumerate(plans)
        for j, array in enumerate(plan.weights)
        if array is not None
    }
    assert wanted.keys() == found.keys()
    for place, array in wanted.items():
        integers = found[place].values
        assert integers.dtype == (np.int32 if array.dtype == np.int32 else np.int8)
        np.testing.assert_array_equal(integers - found[place].zero_point, array)


@pytest.mark.parametrize(("scale", "zero_point"), [(0.0, 0), (np.nan, 0), (1.0, 200)])
def test_qparams_that_no_file_can_hold_are_refused(small, scale, zero_point):
    entry = quant.QuantParams(jnp.float32(scale), jnp.float32(zero_point))
    with pytest.raises(ValueError, match="'input' has scale"):
        Ranges(small.graph, {**small.qparams, "input": entry})


def test_qparams_of_another_graph_are_refused(small):
    ranges = Ranges(small.graph, {})
    with pytest.raises(ValueError, match="no entry 'input'"):
        ranges.scale("input")


def test_zero_points_round_to_even_as_in_training(small):
    entry = dataclasses.replace(small.qparams["input"], zero_point=jnp.float32(-2.5))
    assert Ranges(small.graph, {**small.qparams, "input": entry}).zero_point("input") == -2
