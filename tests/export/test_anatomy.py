import dataclasses

import numpy as np
import pytest

from attokit.export.anatomy import Inspection, OperatorInfo, Signature, Subgraph, TensorInfo


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
    signature = Signature(subgraph=0, inputs={"image": 0}, outputs={"label": 4})
    return Inspection(size=100, description="", subgraphs=(graph,), signatures={"s": signature})


def _of(tensors: tuple[TensorInfo, ...], signed: dict[str, int]) -> Inspection:
    """Returns a file that only has inputs, with their names in a signature."""
    places = tuple(range(len(tensors)))
    graph = Subgraph(name="", tensors=tensors, operators=(), inputs=places, outputs=())
    signature = Signature(subgraph=0, inputs=signed, outputs={})
    return Inspection(size=0, description="", subgraphs=(graph,), signatures={"s": signature})


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


@pytest.mark.parametrize(
    ("stored", "signed", "wanted"),
    [
        (["", ""], {}, ["input_0", "input_1"]),
        (["a", ""], {"x": 1}, ["a", "x"]),
        (["b", "b", "b_1"], {}, ["b", "b_2", "b_1"]),
        (["", "input_0"], {}, ["input_0", "input_0_1"]),
        (["x", "y"], {"y": 0}, ["y", "y_1"]),
    ],
)
def test_every_input_has_a_name_of_its_own(stored, signed, wanted):
    tensors = tuple(_tensor(name, "float32") for name in stored)
    info = _of(tensors, signed)
    assert list(info.inputs) == wanted
    assert list(info.inputs.values()) == list(tensors)


def test_a_tensor_that_is_given_out_twice_has_both_names():
    (tensor,) = tensors = (_tensor("y", "float32"),)
    signed = dataclasses.replace(_of(tensors, {}).main, inputs=(0, 0))
    info = dataclasses.replace(_of(tensors, {"one": 0, "two": 0}), subgraphs=(signed,))
    assert info.inputs == {"one": tensor, "two": tensor}


def test_signatures_of_other_subgraphs_name_nothing_here():
    info = _of((_tensor("x", "float32"),), {})
    other = Signature(subgraph=1, inputs={"theirs": 0}, outputs={})
    both = dataclasses.replace(
        info, subgraphs=info.subgraphs * 2, signatures={**info.signatures, "other": other}
    )
    assert list(both.inputs) == ["x"]


def test_sizes_that_are_not_fixed_are_marked():
    tensor = dataclasses.replace(_tensor("x", "float32"), signature=(-1, 4))
    text = str(_of((tensor,), {}))
    assert "input 'x': float32 ?x4" in text
    assert "? is a size that is not fixed: multiply-adds and RAM are for 1 in its place" in text
    assert "?" not in str(_of((_tensor("x", "float32"),), {}))


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
