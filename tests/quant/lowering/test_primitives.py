import inspect

import pytest

from attokit.quant.lowering.primitives import LOWERINGS


def test_the_table_is_sorted_and_read_only():
    assert list(LOWERINGS) == sorted(LOWERINGS)
    with pytest.raises(TypeError):
        LOWERINGS["add"] = None


@pytest.mark.parametrize("name", LOWERINGS)
def test_every_lowering_takes_a_builder_and_parameters_first(name):
    first, second, *_ = inspect.signature(LOWERINGS[name]).parameters
    assert (first, second) == ("build", "params")
