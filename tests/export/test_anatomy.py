import dataclasses

import numpy as np

from attokit.export.anatomy import Inspection, OperatorInfo, Subgraph, TensorInfo


def _tensor(name: str, dtype: str, *, constant: bool = False, scale=()) -> TensorInfo:
    return TensorInfo(
        name=name, shape=(1, 4), dtype=dtype, size=4, constant=constant,
        scale=np.asarray(scale, np.float32), zero_point=np.zeros(len(scale), np.int64), axis=0,
    )  # fmt: skip


def _inspection() -> Inspection:
    tensors = (
        _tensor("x", "float32"),
        _tensor("q", "int8", scale=(0.5,)),
        _tensor("axes", "int32", constant=True),
        _tensor("kernel", "int8", constant=True, scale=(0.1,)),
        _tensor("y", "int8", scale=(0.5,)),
    )
    rows = (("QUANTIZE", (0,), (1,), 0, 8), ("CONV_2D", (1, 3, -1), (4,), 16, 12))
    operators = tuple(
        OperatorInfo(kind=k, version=1, inputs=i, outputs=o, macs=m, live=n)
        for k, i, o, m, n in rows
    )
    graph = Subgraph(name="", tensors=tensors, operators=operators, inputs=(0,), outputs=(4,))
    return Inspection(
        size=100, description="", subgraphs=(graph,), signatures={"s": ({"image": 0}, {"label": 4})}
    )


def test_sums_are_over_operators_and_parameters():
    info = _inspection()
    assert info.histogram == {"QUANTIZE": 1, "CONV_2D": 1}
    assert info.parameters == 4  # the kernel; axes are none
    assert info.macs == 16
    assert info.peak_ram == 12
    assert info.float_operators == 1


def test_inputs_and_outputs_have_the_signatures_names():
    assert list(_inspection().inputs) == ["image"]
    assert list(_inspection().outputs) == ["label"]


def test_an_input_that_is_left_out_is_not_present():
    assert _inspection().main.operators[1].present == (1, 3, 4)


def test_it_prints_a_line_per_operator():
    text = str(_inspection())
    assert "100 bytes, 4 parameters, 16 multiply-adds" in text
    assert "operators: 2, of which 1 integer only" in text
    assert text.splitlines()[-1].startswith("CONV_2D")


def test_a_constant_of_a_damaged_shape_has_no_values():
    tensor = dataclasses.replace(
        _tensor("widths", "int32", constant=True), contents=memoryview(bytes(16))
    )
    np.testing.assert_array_equal(tensor.values(), np.zeros((1, 4)))
    assert dataclasses.replace(tensor, shape=(0, 2**40, 2**40)).values() is None
