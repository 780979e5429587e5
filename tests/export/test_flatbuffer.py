import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from attokit.export import flatbuffer, inspect
from attokit.export.flatbuffer import Model, Operator, Quantization, Tensor


def _add_chain(bias: np.ndarray, count: int) -> Model:
    """Returns `count` additions, each with a constant of its own that holds the same numbers."""
    x = Tensor(name="x", shape=(1, bias.size), dtype="float32")
    operators, value = [], x
    for i in range(count):
        constant = Tensor(name=f"c{i}", shape=bias.shape, dtype="float32", data=bias)
        result = Tensor(name=f"y{i}", shape=(1, bias.size), dtype="float32")
        operators.append(
            Operator(
                code=schema.BuiltinOperator.ADD,
                version=1,
                options=schema.AddOptionsT(),
                inputs=(value, constant),
                outputs=(result,),
            )
        )
        value = result
    return Model(
        operators=tuple(operators),
        inputs=(("in", x),),
        outputs=(("out", value),),
        signature="serving_default",
        description="",
    )


def test_a_file_begins_with_the_identifier_and_is_read_back():
    data = flatbuffer.build(_add_chain(np.arange(4, dtype=np.float32), 2))
    assert data[4:8] == b"TFL3"
    info = inspect(data)
    assert info.histogram == {"ADD": 2}
    assert list(info.inputs) == ["in"] and list(info.outputs) == ["out"]


def test_metadata_is_read_back():
    model = _add_chain(np.arange(4, dtype=np.float32), 1)
    told = dataclasses.replace(model, metadata={"A": "größer", "B": "", "C": "größer"})
    info = inspect(flatbuffer.build(told))
    assert info.metadata == {"A": "größer".encode(), "B": b"", "C": "größer".encode()}
    assert inspect(flatbuffer.build(model)).metadata == {}
    assert info.histogram == {"ADD": 1}


def test_equal_buffers_are_stored_once():
    bias = np.arange(1000, dtype=np.float32)
    one, five = (len(flatbuffer.build(_add_chain(bias, n))) for n in (1, 5))
    assert five - one < bias.nbytes


def test_equal_zero_points_are_stored_once():
    zeros = np.zeros(512, np.int64)

    def size(count: int) -> int:
        random = np.random.default_rng(0)
        tensors = [
            Tensor(
                name=f"k{i}",
                shape=(512, 1),
                dtype="int8",
                data=np.full((512, 1), i, np.int8),
                quantization=Quantization(random.random(512).astype(np.float32), zeros),
            )
            for i in range(count)
        ]
        x = Tensor(name="x", shape=(1,), dtype="int8")
        pack = Operator(
            code=schema.BuiltinOperator.CONCATENATION,
            version=2,
            options=schema.ConcatenationOptionsT(),
            inputs=tuple(tensors),
            outputs=(x,),
        )
        model = Model(
            operators=(pack,), inputs=(), outputs=(("x", x),), signature="s", description=""
        )
        return len(flatbuffer.build(model))

    assert size(3) - size(2) < 512 * 8


def test_constants_lie_where_kernels_can_read_them_in_place():
    data = flatbuffer.build(_add_chain(np.arange(7, 12, dtype=np.float32), 1))
    assert data.index(np.arange(7, 12, dtype="<f4").tobytes()) % 16 == 0


def test_the_same_model_gives_the_same_bytes():
    model = _add_chain(np.arange(4, dtype=np.float32), 2)
    assert flatbuffer.build(model) == flatbuffer.build(model)


@pytest.mark.parametrize(("values", "want"), [([1, -1, 7], b"\xf1\x07"), ([-7, 2], b"\x29")])
def test_integers_of_four_bits_share_bytes(values, want):
    data = np.asarray(values, np.int8)
    tensor = flatbuffer.Tensor(name="k", shape=data.shape, dtype="int4", data=data)
    output = flatbuffer.Tensor(name="y", shape=data.shape, dtype="int8")
    operator = flatbuffer.Operator(
        code=0, version=1, options=None, inputs=(tensor,), outputs=(output,)
    )
    model = flatbuffer.Model(
        operators=(operator,), inputs=(), outputs=(), signature="s", description=""
    )
    packed = schema.ModelT.InitFromPackedBuf(flatbuffer.build(model), 0)
    (found,) = (t for t in packed.subgraphs[0].tensors if t.name == b"k")
    assert found.type == schema.TensorType.INT4
    assert bytes(packed.buffers[found.buffer].data) == want


def test_equal_constants_scales_and_options_are_there_once():
    """A longer loop of the same step adds operators and activations, and nothing else."""
    scale = Quantization(np.asarray([0.5], np.float32), np.asarray([3]))

    def build(steps: int) -> bytes:
        chain = [Tensor(name="x0", shape=(1, 8), dtype="int8", quantization=scale)]
        operators = []
        for i in range(steps):
            one = Tensor(
                name=f"one{i}",
                shape=(8,),
                dtype="int8",
                data=np.ones(8, np.int8),
                quantization=scale,
            )
            chain.append(Tensor(name=f"x{i + 1}", shape=(1, 8), dtype="int8", quantization=scale))
            operators.append(
                Operator(
                    code=schema.BuiltinOperator.ADD,
                    version=2,
                    options=schema.AddOptionsT(),
                    inputs=(chain[-2], one),
                    outputs=(chain[-1],),
                )
            )
        model = Model(
            operators=tuple(operators),
            inputs=(("x", chain[0]),),
            outputs=(("y", chain[-1]),),
            signature="s",
            description="",
        )
        data = flatbuffer.build(model)
        assert len(schema.ModelT.InitFromPackedBuf(data, 0).subgraphs[0].tensors) == steps + 2
        return data

    step = (len(build(12)) - len(build(2))) / 10
    assert (
        step < 110
    )  # an operator, a tensor, their vectors and a name: no scales, options, constants


def test_tensors_without_names_that_are_alike_are_one_table():
    """Of two more additions of a chain there are two operators, their vectors and two numbers of tensors."""
    x = np.arange(4, dtype=np.float32)
    sizes = [
        len(flatbuffer.build(dataclasses.replace(_add_chain(x, n), names=False))) for n in (2, 12)
    ]
    assert (sizes[1] - sizes[0]) / 10 < 56  # 24 + 4, 12 + 8, 4 and alignment; a table takes 16
    outputs = inspect(flatbuffer.build(dataclasses.replace(_add_chain(x, 12), names=False))).outputs
    assert outputs["out"].shape == (1, 4)


def test_the_most_frequent_operator_comes_first():
    chain = _add_chain(np.arange(4, dtype=np.float32), 3)
    other = dataclasses.replace(
        chain.operators[0], code=schema.BuiltinOperator.MUL, options=schema.MulOptionsT()
    )
    model = dataclasses.replace(chain, operators=(other, *chain.operators[1:]))
    packed = schema.ModelT.InitFromPackedBuf(flatbuffer.build(model), 0)
    codes = [schema.BuiltinOperator.ADD, schema.BuiltinOperator.MUL]
    assert [code.builtinCode for code in packed.operatorCodes] == codes
    assert [operator.opcodeIndex for operator in packed.subgraphs[0].operators] == [1, 0, 0]


@pytest.mark.parametrize("activation", ["NONE", "RELU"])
def test_options_that_go_without_saying_are_left_out(activation):
    chain = _add_chain(np.arange(4, dtype=np.float32), 1)
    code = getattr(schema.ActivationFunctionType, activation)
    add = dataclasses.replace(
        chain.operators[0], options=schema.AddOptionsT(fusedActivationFunction=code)
    )
    model = dataclasses.replace(chain, operators=(add,), bare=True)
    packed = schema.ModelT.InitFromPackedBuf(flatbuffer.build(model), 0)
    (operator,) = packed.subgraphs[0].operators
    assert (operator.builtinOptions is None) == (activation == "NONE")
    assert {tensor.name for tensor in packed.subgraphs[0].tensors} == {None}
