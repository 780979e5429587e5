import numpy as np
import pytest

from attokit.export.anatomy import OperatorInfo, Subgraph, TensorInfo
from attokit.export.cmsis_nn_rules import RULED, kernel_of
from attokit.export.support import SUPPORT


def _tensor(shape, dtype="int8", *, scales=1, data=None):
    contents = b"" if data is None else np.ascontiguousarray(data, dtype).tobytes()
    return TensorInfo(
        name="t", shape=shape, dtype=dtype, size=int(np.prod(shape)), constant=data is not None,
        scale=np.ones(scales, np.float32), zero_point=np.zeros(scales), axis=0,
        contents=memoryview(contents),
    )  # fmt: skip


def _operator(kind, inputs, output, **options):
    return OperatorInfo(
        kind=kind, version=1, inputs=tuple(inputs), outputs=(output,), macs=0, live=0,
        options=options,
    )  # fmt: skip


def _kernel(kind, *inputs, output=None, core="dsp", **options):
    tensors = (*inputs, output or inputs[0])
    operator = _operator(kind, range(len(inputs)), len(inputs), **options)
    graph = Subgraph(name="", tensors=tensors, operators=(operator,), inputs=(0,), outputs=())
    return kernel_of(graph, operator, core)


def _dense(shape, depth, dtype="int8", weights="int8", scales=1):
    kernel = _tensor((shape[-1], depth), weights, scales=scales)
    return "FULLY_CONNECTED", _tensor((*shape[:-1], depth), dtype), kernel, _tensor(shape, dtype)


MAP, MAP16, GATE = _tensor((1, 4, 4, 8)), _tensor((1, 4, 4, 8), "int16"), _tensor((1, 1, 1, 8))
FAST = [
    (("ADD", MAP, MAP), "arm_elementwise_add_s8", 0, 0),
    (("ADD", MAP16, MAP16), "arm_elementwise_add_s16", 0, 0),
    (("MUL", GATE, _tensor((1, 8))), "arm_elementwise_mul_s8", 0, 0),
    (("MUL", MAP16, MAP16), "arm_elementwise_mul_s16", 0, 0),
    (("AVERAGE_POOL_2D", MAP), "arm_avgpool_s8", 8 * 4, 0),
    (("AVERAGE_POOL_2D", MAP16), "arm_avgpool_s16", 8 * 4, 0),
    (("MAX_POOL_2D", MAP), "arm_max_pool_s8", 0, 0),
    (("MAX_POOL_2D", MAP16), "arm_max_pool_s16", 0, 0),
    (("BATCH_MATMUL", MAP, MAP), "arm_batch_matmul_s8", 0, 8 * 4),
    (("BATCH_MATMUL", MAP16, MAP16), "arm_batch_matmul_s16", 0, 0),
    (("SOFTMAX", MAP), "arm_softmax_s8", 0, 0),
    (("SOFTMAX", MAP16), "arm_softmax_s16", 0, 0),
    (("MAXIMUM", MAP, GATE), "arm_maximum_s8", 0, 0),
    (("MINIMUM", MAP, GATE), "arm_minimum_s8", 0, 0),
    (("PAD", MAP, _tensor((4, 2), "int32")), "arm_pad_s8", 0, 0),
    (("TRANSPOSE", MAP, _tensor((4,), "int32")), "arm_transpose_s8", 0, 0),
]  # fmt: skip
DENSE = [
    (_dense((1, 5), 10), "arm_fully_connected_s8", 0, 5 * 4),
    (_dense((1, 5), 10, scales=5), "arm_fully_connected_per_channel_s8", 0, 5 * 4),
    (_dense((1, 3, 5), 12), "arm_convolve_1x1_s8_fast", 2 * 5 * 4, 2 * 5 * 4),
    (_dense((1, 3, 5), 12, scales=5), "arm_convolve_1x1_s8_fast", 0, 0),
    (_dense((1, 3, 5), 10), "arm_fully_connected_s8", 0, 5 * 4),
    (_dense((1, 5), 10, weights="int4"), "arm_fully_connected_s4", 0, 0),
    (_dense((1, 5), 10, "int16"), "arm_fully_connected_s16", 0, 0),
]


@pytest.mark.parametrize(("given", "name", "dsp", "helium"), FAST)
def test_fast_kernels(given, name, dsp, helium):
    for core, scratch in (("dsp", dsp), ("helium", helium)):
        kernel = _kernel(*given, core=core)
        assert (kernel.name, kernel.scratch, kernel.speed) == (name, scratch, "fast")


@pytest.mark.parametrize(("given", "name", "dsp", "helium"), DENSE)
def test_dense_layers(given, name, dsp, helium):
    *given, output = given
    for core, scratch in (("dsp", dsp), ("helium", helium)):
        kernel = _kernel(*given, output=output, core=core)
        assert (kernel.name, kernel.scratch, kernel.speed) == (name, scratch, "fast")


def test_a_softmax_may_widen():
    assert _kernel("SOFTMAX", MAP, output=MAP16).name == "arm_softmax_s8_s16"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("MUL", MAP, GATE), "1x1x1x8 and 1x4x4x8 are not of one shape"),
        (("ADD", _tensor((1, 8), "int32"), _tensor((1, 8), "int32")), "none of int32"),
        (("AVERAGE_POOL_2D", _tensor((1, 4, 4, 8), "float32")), "none of float32"),
        (
            ("FULLY_CONNECTED", _tensor((1, 8), "float32"), _tensor((2, 8), "float32")),
            "none of float32",
        ),
        (("BATCH_MATMUL", _tensor((1, 8), "float32"), GATE), "none of float32"),
        (("SOFTMAX", _tensor((1, 8), "float32")), "none of float32"),
        (("MAXIMUM", MAP16, MAP16), "none of int16"),
        (("PADV2", MAP16, _tensor((4, 2), "int32")), "none of int16"),
        (("UNIDIRECTIONAL_SEQUENCE_LSTM", _tensor((1, 8), "float32")), "none of float32"),
        (("HARD_SWISH", MAP), "no kernel of it"),
        (("AN_OPERATOR_OF_MINE", MAP), "no kernel of it"),
    ],
)
def test_reference_kernels_are_told_why(given, text):
    kernel = _kernel(*given)
    assert (kernel.name, kernel.speed, kernel.scratch) == ("", "reference", 0)
    assert text in kernel.problem.what
    assert bool(kernel.problem.cure) == (given[0] != "AN_OPERATOR_OF_MINE")


def test_what_only_copies_is_no_problem():
    kernel = _kernel("RESHAPE", MAP)
    assert (kernel.speed, kernel.problem) == ("reference", None)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("MAX_POOL_2D", _tensor((2, 4, 4, 8))), "batch of 2 it pools the first"),
        (("MAX_POOL_2D", GATE), None),
        (("TRANSPOSE", _tensor((1, 2, 3, 4, 5)), GATE), "it has 5 axes"),
        (_dense((1, 5), 10, "int16", scales=5)[:3], "a scale per channel"),
        (("MAX_POOL_2D", _tensor((1, 8))), "no such operator"),
        (("FULLY_CONNECTED", MAP), "no such operator"),
        (("ADD",), "no such operator"),
    ],
)
def test_what_does_not_run_is_named(given, text):
    kernel = _kernel(*given, output=MAP)
    assert (kernel.speed == "unfit") == (text is not None)
    assert text is None or text in kernel.problem.what


def test_scratch_that_is_not_counted_is_said():
    kernel = _kernel("UNIDIRECTIONAL_SEQUENCE_LSTM", MAP)
    assert kernel.name == "arm_lstm_unidirectional_s8"
    assert "not counted" in kernel.problem.what


def _padded(widths, reader, size=8, out=4, *, also=(), outputs=()):
    """Returns what a PAD is told, whose output a reader of 3x3 with a stride of 2 takes."""
    grown = size + widths[0] + widths[1]
    table = [(0, 0), widths, widths, (0, 0)]
    tensors = (
        _tensor((1, size, size, 8)), _tensor((4, 2), "int32", data=table),
        _tensor((1, grown, grown, 8)), _tensor((6, 3, 3, 8)), _tensor((1, out, out, 6)),
    )  # fmt: skip
    pad = _operator("PAD", (0, 1), 2)
    options = {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
    operators = (pad, _operator(reader, (2, 3), 4, **options), *also)
    graph = Subgraph(name="", tensors=tensors, operators=operators, inputs=(0,), outputs=outputs)
    return kernel_of(graph, pad, "dsp")


@pytest.mark.parametrize("reader", ["CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"])
def test_a_pad_that_another_network_has_not_is_told(reader):
    kernel = _padded((1, 0), reader)
    assert (kernel.name, kernel.speed) == ("arm_pad_s8", "fast")
    assert kernel.problem.what == "its copy takes 648 bytes of the arena"
    assert f"padding=((0, 1), (0, 1)) in that {reader}, not ((1, 0), (1, 0))" in kernel.problem.cure


def test_a_pad_that_is_that_of_same_is_told_so():
    kernel = _padded((0, 1), "CONV_2D")
    assert kernel.problem.cure == "a network with padding SAME in that CONV_2D has none"


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (3, 3), "out": 6},  # SAME makes fewer outputs
        {"widths": (1, 0), "reader": "AVERAGE_POOL_2D"},  # counts other pixels with SAME
        {"widths": (1, 0), "also": (_operator("RELU", (2,), 4),)},
        {"widths": (1, 0), "outputs": (2,)},
    ],
)
def test_a_pad_that_every_such_network_has_is_not(options):
    assert _padded(**({"reader": "CONV_2D"} | options)).problem is None


def test_the_rules_know_operators_by_the_names_of_the_schema():
    outside = {"PADV2", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
    assert RULED - SUPPORT.keys() <= outside
