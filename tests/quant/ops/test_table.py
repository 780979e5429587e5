import pytest

from attokit.quant.ops.table import OPS


def test_every_row_is_under_its_own_name():
    assert all(name == kind.name for name, kind in OPS.items())
    with pytest.raises(TypeError):
        OPS["conv_2d"] = None


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_a_kind_without_integers_of_its_own_shares_one_scale(kind):
    # The result of DEQUANTIZE is float32, and so is that of kinds that no integers reach.
    assert not kind.moves or kind.tied or kind.name == "dequantize" or kind.only_float


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_only_kinds_that_rescale_fuse_activations(kind):
    assert not kind.activations or kind.integer is not None


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_a_kind_has_one_integer_meaning(kind):
    # Of LOGISTIC and TANH, LiteRT evaluates the function and TFLite Micro computes the table.
    by_set = kind.name in ("logistic", "tanh")
    meanings = (kind.integer, kind.table, kind.function)
    assert sum(meaning is not None for meaning in meanings) == (0 if kind.moves else 1 + by_set)
