import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant
from attokit.export.integers import Ranges, integer_operands


def test_integers_are_those_that_training_sees(small):
    wanted = quant.integer_weights(small.graph, small.weights, small.qparams)
    found = integer_operands(small.graph, small.weights, Ranges(small.graph, small.qparams))
    places = {
        (i, j): array for i, row in enumerate(wanted) for j, array in enumerate(row)
        if array is not None
    }  # fmt: skip
    assert places.keys() == found.keys()
    for place, array in places.items():
        assert found[place].values.dtype == array.dtype
        np.testing.assert_array_equal(found[place].values, np.asarray(array))


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
