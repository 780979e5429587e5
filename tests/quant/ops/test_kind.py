import dataclasses

import pytest

from attokit.quant.ops import kind
from attokit.quant.ops.kind import Op, Operand


def test_op_gives_its_attributes():
    op = Op(kind="reshape", inputs=("x",), outputs=("y",), attributes={"shape": (1, 2)})
    assert op["shape"] == (1, 2)
    assert op.activation == "none"
    with pytest.raises(dataclasses.FrozenInstanceError):
        op.kind = "pad"


def test_weights_are_kernels_and_biases():
    assert [role for role in Operand if role.is_weight] == [Operand.KERNEL, Operand.BIAS]


def test_kinds_that_move_values_multiply_nothing():
    op = Op(kind="pad", inputs=("x",), outputs=("y",))
    assert kind.no_macs(op, lambda name: (1,)) == 0
    assert kind.no_ratios(op, None, "reference") == ()
