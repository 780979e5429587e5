from attokit.export.lowerings.table import LOWERINGS
from attokit.quant.ops import table


def test_every_kind_of_op_can_be_written():
    assert LOWERINGS.keys() == table.OPS.keys()
    assert list(LOWERINGS) == sorted(LOWERINGS)
