import inspect

import pytest

from attokit.quant.lowering.elementwise import UNARY
from attokit.quant.lowering.primitives import LOWERINGS


def test_the_table_is_sorted_and_read_only():
    own = [name for name in LOWERINGS if name not in UNARY or name == "integer_pow"]
    assert own == ["integer_pow", *sorted(own[1:])]
    with pytest.raises(TypeError):
        LOWERINGS["add"] = None


@pytest.mark.parametrize("name", LOWERINGS)
def test_every_lowering_takes_a_builder_and_parameters_first(name):
    first, second, *_ = inspect.signature(LOWERINGS[name]).parameters
    assert (first, second) == ("build", "params")
