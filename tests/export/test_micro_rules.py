import jax.numpy as jnp
import numpy as np
import pytest
from made_files import CODES, Tensor, changed, schema, step, written

from attokit import export, quant
from attokit.export.flatbuffer import Quantization
from attokit.export.micro_rules import problem_in_micro, refused_in_micro
from attokit.export.support import SUPPORT

BYTES = Quantization(np.float32([0.1]), np.int64([3]))
SHAPE = (1, 2, 2, 2)


def _image(name, dtype):
    quantization = BYTES if "int" in dtype else None
    return Tensor(name=name, shape=SHAPE, dtype=dtype, quantization=quantization)


def _constant(name, data):
    return Tensor(name=name, shape=data.shape, dtype=str(data.dtype), data=data)


def _convolution(x, dtype):
    """Returns a convolution of 1x1 with weights of a type."""
    kernel = Tensor(
        name="kernel", shape=(2, 1, 1, 2), dtype=dtype, data=np.ones((2, 1, 1, 2), dtype),
        quantization=BYTES if dtype != "float32" else None,
    )  # fmt: skip
    bias = _constant("bias", np.zeros(2, "float32" if x.dtype == "float32" else "int32"))
    options = schema.Conv2DOptionsT(strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)
    return step(CODES.CONV_2D, (x, kernel, bias), _image("end", x.dtype), options, 3)


def _halves(x):
    """Returns an addition of weights that are kept in half the bytes."""
    halves = _constant("halves", np.ones(SHAPE, np.float16).view(np.int16))
    whole = _image("whole", "float32")
    return (
        step(CODES.DEQUANTIZE, (halves,), whole, version=3),
        step(CODES.ADD, (x, whole), _image("end", "float32"), schema.AddOptionsT()),
    )


CASES = {
    "CONV_2D of uint8": lambda: ("uint8", lambda x: [_convolution(x, "uint8")]),
    "ADD of uint8": lambda: (
        "uint8",
        lambda x: [step(CODES.ADD, (x, x), _image("end", "uint8"), schema.AddOptionsT())],
    ),
    "CONCATENATION of uint8": lambda: (
        "uint8",
        lambda x: [
            step(
                CODES.CONCATENATION, (x, x),
                Tensor(name="end", shape=(1, 2, 2, 4), dtype="uint8", quantization=BYTES),
                schema.ConcatenationOptionsT(axis=3),
            )
        ],
    ),
    "CONV_2D of mixed types": lambda: ("float32", lambda x: [_convolution(x, "int8")]),
    "SELECT_V2 of int32": lambda: (
        "int32",
        lambda x: [
            step(
                CODES.SELECT_V2, (_constant("seen", np.ones(SHAPE, bool)), x, x),
                _image("end", "int32"), schema.SelectV2OptionsT(),
            )
        ],
    ),
    "DEQUANTIZE of float16": lambda: ("float32", _halves),
    "GELU": lambda: (
        "float32",
        lambda x: [step(CODES.GELU, (x,), _image("end", "float32"), schema.GeluOptionsT())],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_called_refused_is_refused(name):
    dtype, body = CASES[name]()
    x = _image("x", dtype)
    file = written([x], body(x))
    if "float16" in name:
        file = changed(file, "halves", type=schema.TensorType.FLOAT16)
    graph = export.inspect(file).main
    kind = name.split()[0]
    (refused,) = [op.kind for op in graph.operators if problem_in_micro(graph, op) is not None]
    assert refused == kind
    assert refused_in_micro(graph).startswith(f"{kind}: TFLite Micro has")
    with pytest.raises(ValueError, match=r"the runtime (refuses|cannot run)"):
        export.run(file, np.ones(SHAPE, dtype), kernels="micro")
    (unfit,) = [u for u in export.cortex_m(export.inspect(file)).uses if u.kernel.speed == "unfit"]
    assert unfit.kind == kind


def _to_depth(x):
    return x.reshape(1, 2, 2, 2, 2, 4).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 2, 16)


def _to_space(x):
    return x.reshape(1, 4, 4, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(1, 8, 8, 1)


ROWS = ((0, 0), (1, 1), (0, 0), (0, 0))
MOVEMENTS = {
    "DEPTH_TO_SPACE": _to_space,
    "GATHER": lambda x: x[:, jnp.asarray([2, 0, 0])],
    "MIRROR_PAD": lambda x: jnp.pad(x, ROWS, mode="reflect"),
    "PAD": lambda x: jnp.pad(x, ROWS),
    "PADV2": lambda x: jnp.pad(x, ROWS, constant_values=1),
    "RESIZE_NEAREST_NEIGHBOR": lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2),
    "SELECT_V2": lambda x: jnp.where(jnp.arange(4) > 1, x, jnp.zeros_like(x)),
    "SPACE_TO_DEPTH": _to_depth,
    "TRANSPOSE": lambda x: x.transpose(0, 2, 1, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, dtype) for kind, row in SUPPORT.items() for dtype in sorted(row.micro_lacks)],
)
def test_whole_numbers_that_are_refused_at_export_are_refused_by_the_runtime(kind, dtype):
    x = np.asarray(np.arange(64).reshape(1, 4, 4, 4) % 3, dtype)
    graph, weights = quant.trace(lambda _, x: MOVEMENTS[kind](x), (), x)
    file = export.to_tflite(graph, weights, {})
    assert export.verify(file, graph, weights, {}, x).exact
    with pytest.raises(ValueError, match=rf"{kind} .*TFLite Micro has it not of {dtype}"):
        export.to_tflite(graph, weights, {}, target="micro")
    assert kind in refused_in_micro(export.inspect(file).main)
    with pytest.raises(ValueError, match=r"the runtime (refuses|cannot run)"):
        export.run(file, x, kernels="micro")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_what_runs_is_not(dtype):
    x = _image("x", dtype)
    file = written([x], [_convolution(x, dtype)])
    assert refused_in_micro(export.inspect(file).main) == ""
    export.run(file, np.ones(SHAPE, dtype), kernels="micro")


def test_bytes_that_only_move_or_change_type_run():
    x = _image("x", "uint8")
    row = Tensor(name="row", shape=(1, 8), dtype="uint8", quantization=BYTES)
    sizes = _constant("sizes", np.int32([1, 8]))
    end = Tensor(name="end", shape=(1, 8), dtype="int8", quantization=BYTES)
    file = written([x], [
        step(CODES.RESHAPE, (x, sizes), row, schema.ReshapeOptionsT()),
        step(CODES.QUANTIZE, (row,), end, schema.QuantizeOptionsT(), 2),
    ])  # fmt: skip
    assert refused_in_micro(export.inspect(file).main) == ""
    export.run(file, np.ones(SHAPE, np.uint8), kernels="micro")
