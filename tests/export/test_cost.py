import numpy as np
import pytest

from attokit.export import cost
from attokit.export.anatomy import OperatorInfo, TensorInfo


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "wanted"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 4)], (1, 8, 8, 6), 64 * 6 * 9 * 4),
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 2)], (1, 8, 8, 6), 64 * 6 * 9 * 2),  # 2 groups
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 8)], (1, 8, 8, 8), 64 * 8 * 9),
        ("FULLY_CONNECTED", [(2, 10), (5, 10)], (2, 5), 2 * 10 * 5),
        ("TRANSPOSE_CONV", [(4,), (6, 2, 2, 4), (1, 3, 3, 4)], (1, 6, 6, 6), 9 * 4 * 24),
        ("ADD", [(1, 4), (1, 4)], (1, 4), 0),
    ],
)
def test_multiply_adds(kind, inputs, output, wanted):
    assert cost.multiply_adds(kind, None, inputs, [output]) == wanted


def _tensor(size: int, *, constant: bool = False) -> TensorInfo:
    return TensorInfo(
        name="", shape=(size,), dtype="int8", size=size, constant=constant,
        scale=np.zeros(0), zero_point=np.zeros(0), axis=0,
    )  # fmt: skip


def _operator(inputs, outputs) -> OperatorInfo:
    return OperatorInfo(kind="ADD", version=1, inputs=inputs, outputs=outputs, macs=0, live=0)


def test_a_skip_connection_lives_until_it_is_added():
    # 0 -> 1 -> 2 -> 3 = 2 + 1, with a constant that counts for nothing
    tensors = [_tensor(1), _tensor(10), _tensor(100), _tensor(1000), _tensor(7, constant=True)]
    operators = [_operator((0, 4), (1,)), _operator((1,), (2,)), _operator((2, 1), (3,))]
    assert cost.live_bytes(tensors, operators, (0,), (3,)) == [11, 110, 1110]


def test_inputs_and_outputs_live_from_the_start_and_to_the_end():
    tensors = [_tensor(1), _tensor(10), _tensor(100), _tensor(1000)]
    operators = [_operator((0,), (1,)), _operator((0,), (2,)), _operator((3, 2), (2,))]
    assert cost.live_bytes(tensors, operators, (0, 3), (1, 2)) == [1011, 1111, 1110]
