from attokit.quant.ops.spellings import SPELLINGS
from attokit.quant.ops.table import OPS


def test_every_kind_has_a_spelling_and_nothing_else_has():
    assert SPELLINGS.keys() == OPS.keys()
    assert all(SPELLINGS.values())
