import numpy as np
import pytest

from attokit.export import cost
from attokit.export.anatomy import OperatorInfo, TensorInfo

# 10 numbers in, 8 cells and 6 numbers out: matrices, peepholes, biases, projection.
_GATES = [*[(8, 10)] * 4, *[(8, 6)] * 4, *[(8,)] * 7, (6, 8), (6,)]
_STATES = [(2, 6), (2, 8)]
_LSTM = [(2, 7, 10), *_GATES, *_STATES, *[(8,)] * 4]
_COUPLED = [(2, 7, 10), (), *_GATES[1:4], (), *_GATES[5:], *_STATES]  # no input gate
_BOTH_WAYS = [(2, 7, 10), *_GATES, *_GATES, *_STATES, *_STATES, *[()] * 9]


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "wanted"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 4)], (1, 8, 8, 6), 64 * 6 * 9 * 4),
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 2)], (1, 8, 8, 6), 64 * 6 * 9 * 2),  # 2 groups
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 8)], (1, 8, 8, 8), 64 * 8 * 9),
        ("FULLY_CONNECTED", [(2, 10), (5, 10)], (2, 5), 2 * 10 * 5),
        ("TRANSPOSE_CONV", [(4,), (6, 2, 2, 4), (1, 3, 3, 4)], (1, 6, 6, 6), 9 * 4 * 24),
        (
            "CONV_3D_TRANSPOSE",
            [(5,), (2, 3, 3, 6, 4), (1, 2, 5, 5, 4)],
            (1, 4, 9, 9, 6),
            50 * 4 * 108,
        ),
        ("SVDF", [(2, 10), (8, 10), (8, 5), (4,), (2, 40)], (2, 4), 2 * (8 * 10 + 8 * 5)),
        ("RNN", [(2, 10), (8, 10), (8, 8), (8,), (2, 8)], (2, 8), 2 * (8 * 10 + 8 * 8)),
        ("LSTM", [(2, 10), (2, 8), (32, 18), (32,), (2, 8)], (2, 8), 2 * 32 * 18),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", _LSTM, (2, 7, 6), 2 * 7 * (4 * 8 * 16 + 6 * 8)),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", _COUPLED, (2, 7, 6), 2 * 7 * (3 * 8 * 16 + 6 * 8)),
        ("BIDIRECTIONAL_SEQUENCE_LSTM", _BOTH_WAYS, (2, 7, 12), 2 * 7 * 2 * (4 * 8 * 16 + 6 * 8)),
        ("ADD", [(1, 4), (1, 4)], (1, 4), 0),
    ],
)
def test_multiply_adds(kind, inputs, output, wanted):
    assert cost.multiply_adds(kind, None, inputs, [output]) == wanted


def test_operators_of_unknown_cost_are_known_as_such():
    assert cost.is_counted("ADD") and cost.is_counted("TFLite_Detection_PostProcess")
    assert not any(map(cost.is_counted, ("STABLEHLO_CONVOLUTION", "Convolution2DTransposeBias")))


def _tensor(size: int, *, constant: bool = False) -> TensorInfo:
    return TensorInfo(
        name="", shape=(size,), dtype="int8", size=size, constant=constant,
        scale=np.zeros(0), zero_point=np.zeros(0), axis=0,
    )  # fmt: skip


def _operator(inputs, outputs, kind="ADD") -> OperatorInfo:
    return OperatorInfo(kind=kind, version=1, inputs=inputs, outputs=outputs, macs=0, live=0)


def test_a_skip_connection_lives_until_it_is_added():
    # 0 -> 1 -> 2 -> 3 = 2 + 1, with a constant that counts for nothing
    tensors = [_tensor(1), _tensor(10), _tensor(100), _tensor(1000), _tensor(7, constant=True)]
    operators = [_operator((0, 4), (1,)), _operator((1,), (2,)), _operator((2, 1), (3,))]
    assert cost.live_bytes(tensors, operators, (0,), (3,)) == [11, 110, 1110]


def test_inputs_and_outputs_live_from_the_start_and_to_the_end():
    tensors = [_tensor(1), _tensor(10), _tensor(100), _tensor(1000)]
    operators = [_operator((0,), (1,)), _operator((0,), (2,)), _operator((3, 2), (2,))]
    assert cost.live_bytes(tensors, operators, (0, 3), (1, 2)) == [1011, 1111, 1110]


def test_constants_that_are_widened_are_no_activations():
    # 4 is sparse, 5 dense, 6 float32; 0 is what comes in
    tensors = [_tensor(n) for n in (1, 10, 100)] + [_tensor(7), _tensor(7, constant=True)]
    tensors += [_tensor(1000), _tensor(2000)]
    operators = [_operator((4,), (5,), "DENSIFY"), _operator((5,), (6,), "DEQUANTIZE")]
    operators += [_operator((0,), (1,), "DEQUANTIZE"), _operator((1, 6), (2,))]
    assert cost.live_bytes(tensors, operators, (0,), (2,)) == [1, 1, 11, 110]
