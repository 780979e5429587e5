import numpy as np
import pytest

from attokit.export.anatomy import OperatorInfo, Subgraph, TensorInfo
from attokit.export.cmsis_nn_convolutions import conv_2d, depthwise_conv_2d, transpose_conv
from attokit.export.problems import Seen

CORES = ("dsp", "helium")


def _tensor(shape, dtype):
    return TensorInfo(
        name="t", shape=shape, dtype=dtype, size=1, constant=False, scale=np.ones(1, np.float32),
        zero_point=np.zeros(1), axis=0,
    )  # fmt: skip


def _seen(inputs, output, dtype="int8", weights="int8", strides=(1, 1), **options):
    types = [dtype] * len(inputs)
    types[1] = weights
    tensors = tuple(map(_tensor, (*inputs, output), (*types, dtype)))
    operator = OperatorInfo(
        kind="", version=1, inputs=tuple(range(len(inputs))), outputs=(len(inputs),), macs=0, live=0,
        options={"strideH": strides[0], "strideW": strides[1], **options},
    )  # fmt: skip
    return Seen(Subgraph(name="", tensors=tensors, operators=(operator,), inputs=(0,), outputs=()), operator)  # fmt: skip


def _row(width, channels, kernel, out, stride=1):
    inputs = ((1, 1, width, channels), (6, 1, kernel, channels))
    return _seen(inputs, (1, 1, out, 6), strides=(1, stride))


def _square(channels, kernel, out=8, depth=None, **options):
    inputs = ((1, 8, 8, channels), (6, kernel, kernel, depth or channels))
    return _seen(inputs, (1, out, out, 6), **options)


# Scratch on DSP: two patches of int16, a patch to a multiple of 4; on Helium four of int8, of 16.
CONVOLUTIONS = [
    (_square(5, 1), ("arm_convolve_1x1_s8_fast", 0), ("arm_convolve_1x1_s8_fast", 0)),
    (_square(5, 1, 4, strides=(2, 2)), ("arm_convolve_1x1_s8", 0), ("arm_convolve_1x1_s8", 0)),
    (_square(3, 3), ("arm_convolve_s8", 2 * 28 * 2), ("arm_convolve_s8", 4 * 32)),
    (
        _square(3, 3, dilationHFactor=2, dilationWFactor=2),
        ("arm_convolve_s8", 2 * 28 * 2),
        ("arm_convolve_s8", 4 * 32),
    ),
    (_square(8, 1, depth=4), ("arm_convolve_s8", 2 * 8 * 2), ("arm_convolve_s8", 4 * 16)),
    (_row(16, 4, 5, 16), ("arm_convolve_1_x_n_s8", 2 * 20 * 2), ("arm_convolve_1_x_n_s8", 4 * 7)),
    (_row(16, 4, 4, 16), ("arm_convolve_1_x_n_s8", 2 * 16 * 2), ("arm_convolve_1_x_n_s8", 4 * 5)),
    (_row(16, 4, 3, 7, 2), ("arm_convolve_1_x_n_s8", 2 * 12 * 2), ("arm_convolve_1_x_n_s8", 4 * 3)),
    (_row(2, 4, 5, 2), ("arm_convolve_1_x_n_s8", 2 * 20 * 2), ("arm_convolve_1_x_n_s8", 4 * 32)),
    (_row(16, 3, 5, 16), ("arm_convolve_s8", 2 * 16 * 2), ("arm_convolve_s8", 4 * 16)),
    (_square(3, 3, weights="int4"), ("arm_convolve_s4", 2 * 28 * 2), ("arm_convolve_s4", 4 * 32)),
    (_square(4, 3, weights="int4"), ("arm_convolve_s4", 2 * 36 * 2), ("arm_convolve_even_s4", 4 * 48)),
    (_square(5, 1, weights="int4"), ("arm_convolve_1x1_s4_fast", 0), ("arm_convolve_1x1_s4_fast", 0)),
    (_square(3, 3, dtype="int16"), ("arm_convolve_s16", 2 * 27 * 2), ("arm_convolve_s16", 4 * 32 * 2)),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "dsp", "helium"), CONVOLUTIONS)
def test_convolutions(seen, dsp, helium):
    for core, want in zip(CORES, (dsp, helium), strict=True):
        kernel = conv_2d(seen, core)
        assert (kernel.name, kernel.scratch, kernel.speed) == (*want, "fast")
        assert kernel.problem is None


def _depthwise(channels, kernel, features=None, batch=1, **options):
    features = features or channels
    inputs = ((batch, 8, 8, channels), (1, kernel, kernel, features))
    options = {"depthMultiplier": features // channels, **options}
    return _seen(inputs, (batch, 8, 8, features), **options)


@pytest.mark.parametrize(
    ("seen", "dsp", "helium"),
    [
        (
            _depthwise(6, 3),
            ("arm_depthwise_conv_3x3_s8", 0),
            ("arm_depthwise_conv_s8_opt", 4 * 124 * 9),
        ),
        (
            _depthwise(6, 5),
            ("arm_depthwise_conv_s8_opt", 6 * 25 * 2),
            ("arm_depthwise_conv_s8_opt", 4 * 124 * 25),
        ),
        (
            _depthwise(6, 3, weights="int4"),
            ("arm_depthwise_conv_s4_opt", 6 * 9 * 2),
            ("arm_depthwise_conv_s4_opt", 4 * 124 * 9),
        ),
    ],
)
def test_depthwise_convolutions(seen, dsp, helium):
    for core, want in zip(CORES, (dsp, helium), strict=True):
        kernel = depthwise_conv_2d(seen, core)
        assert (kernel.name, kernel.scratch, kernel.speed) == (*want, "fast")


@pytest.mark.parametrize(
    ("seen", "name", "text"),
    [
        (_depthwise(6, 3, 12), "arm_depthwise_conv_s8", "it makes 2 channels of each"),
        (_depthwise(6, 3, batch=2), "arm_depthwise_conv_s8", "batch of 2"),
        (
            _depthwise(6, 3, dilationHFactor=2, dilationWFactor=1),
            "arm_depthwise_conv_s8",
            "dilated by 2x1",
        ),
        (_depthwise(6, 3, 12, weights="int4"), "arm_depthwise_conv_s4", "it makes 2 channels"),
        (_depthwise(6, 3, dtype="int16"), "arm_depthwise_conv_s16", "no other for int16"),
    ],
)
def test_depthwise_convolutions_that_take_the_slow_kernel_are_told_why(seen, name, text):
    for core in CORES:
        kernel = depthwise_conv_2d(seen, core)
        assert (kernel.name, kernel.scratch, kernel.speed) == (name, 0, "slow")
        assert text in kernel.problem.what and kernel.problem.cure


def test_one_channel_is_convolved_on_helium():
    seen = _depthwise(1, 3, 8)
    kernel = depthwise_conv_2d(seen, "helium")
    assert (kernel.name, kernel.scratch) == ("arm_convolve_s8", 4 * 16 + 9 * 8)
    assert depthwise_conv_2d(seen, "dsp").speed == "slow"


def _transposed(channels, kernel, stride, **options):
    size = 4 * stride
    inputs = ((1, size, size, 5), (5, kernel, kernel, channels), (1, 4, 4, channels))
    return _seen(inputs, (1, size, size, 5), strides=(stride, stride), **options)


@pytest.mark.parametrize(
    ("seen", "name", "dsp", "helium"),
    [
        (_transposed(33, 2, 2), "arm_convolve_s8", 132 * 4 + 132 * 5, 144 * 4 + 132 * 5),
        (_transposed(16, 2, 2), "arm_transpose_conv_s8", 8 * 5 * 2 * 4, 8 * 5 * 2 * 4),
        (_transposed(33, 5, 3), "arm_transpose_conv_s8", 14 * 5 * 5 * 4, 14 * 5 * 5 * 4),
    ],
)
def test_transposed_convolutions(seen, name, dsp, helium):
    for core, want in zip(CORES, (dsp, helium), strict=True):
        kernel = transpose_conv(seen, core)
        assert (kernel.name, kernel.scratch) == (name, want)


@pytest.mark.parametrize("options", [{"dtype": "int16"}, {"weights": "int4"}])
def test_groups_of_other_types_come_out_wrong(options):
    kernel = conv_2d(_square(8, 3, depth=4, **options), "dsp")
    assert kernel.speed == "unfit"
    assert "knows no groups" in kernel.problem.what


@pytest.mark.parametrize(
    ("rule", "seen", "text"),
    [
        (conv_2d, _square(3, 3, dtype="float32", weights="float32"), "none of float32"),
        (depthwise_conv_2d, _depthwise(6, 3, dtype="float32"), "none of float32"),
        (transpose_conv, _transposed(8, 2, 2, dtype="int16"), "none of int16"),
    ],
)
def test_other_types_have_the_reference_kernel(rule, seen, text):
    kernel = rule(seen, "dsp")
    assert (kernel.name, kernel.speed) == ("", "reference")
    assert text in kernel.problem.what


@pytest.mark.parametrize("rule", [conv_2d, depthwise_conv_2d])
def test_shapes_that_make_no_sense(rule):
    assert rule(_seen(((1, 8, 8), (6, 3, 3, 3)), (1, 8, 8, 6)), "dsp").speed == "unfit"
    assert rule(_square(3, 3, strides=(0, 1)), "dsp").speed == "unfit"
