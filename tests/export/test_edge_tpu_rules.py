import numpy as np
import pytest

from attokit.export.anatomy import OperatorInfo, Subgraph, TensorInfo
from attokit.export.edge_tpu_rules import RULED, problem_of
from attokit.export.support import SUPPORT


def _tensor(shape=(1, 4, 4, 8), dtype="int8", data=None, *, zero_point=0, signature=()):
    contents = b"" if data is None else np.ascontiguousarray(data, dtype).tobytes()
    shape = shape if data is None else np.shape(data)
    return TensorInfo(
        name="t", shape=tuple(shape), dtype=dtype, size=1, constant=data is not None,
        scale=np.ones(1, np.float32), zero_point=np.full(1, zero_point), axis=0,
        signature=signature, contents=memoryview(contents),
    )  # fmt: skip


def _problem(kind, *inputs, version=1, output=None, **options):
    tensors = (*inputs, output or _tensor())
    operator = OperatorInfo(
        kind=kind, version=version, inputs=tuple(range(len(inputs))), outputs=(len(inputs),),
        macs=0, live=0, options=options,
    )  # fmt: skip
    graph = Subgraph(name="", tensors=tensors, operators=(operator,), inputs=(0,), outputs=())
    return problem_of(graph, operator)


def _kernel(*shape):
    return _tensor(data=np.zeros(shape, np.int8))


def _numbers(*values):
    return _tensor(dtype="int32", data=np.asarray(values, np.int32))


IMAGES = _tensor()
ROW, WIDE_ROW = _tensor((1, 10)), _tensor((1, 16_001))

FIT = [
    ("CONV_2D", (IMAGES, _kernel(8, 3, 3, 8)), {"version": 3, "dilationHFactor": 2, "dilationWFactor": 2}),
    ("DEPTHWISE_CONV_2D", (IMAGES, _kernel(1, 3, 3, 8)), {"version": 3}),
    ("FULLY_CONNECTED", (ROW, _kernel(10, 10)), {"version": 4, "output": ROW}),
    ("CONCATENATION", (IMAGES, _tensor(data=np.full((1, 4, 4, 8), -3), zero_point=-3)), {"version": 2}),
    ("MEAN", (IMAGES, _numbers(1, 2, 3)), {"version": 2}),
    ("PAD", (IMAGES, _numbers([0, 0], [1, 1], [0, 2], [0, 0])), {"version": 2}),
    ("SPLIT", (_numbers(3), IMAGES), {"version": 2}),
    ("PRELU", (IMAGES, _tensor(data=np.zeros((1, 1, 8)))), {}),
    ("RESHAPE", (IMAGES,), {"output": _tensor((1, 128))}),
    ("SOFTMAX", (ROW,), {"version": 2, "output": ROW}),
    ("SQUEEZE", (_tensor((1, 1, 1, 8)),), {"output": _tensor((1, 8))}),
    ("STRIDED_SLICE", (IMAGES, _numbers(0), _numbers(1), _numbers(1, 1, 1, 1)), {"version": 2}),
    ("TRANSPOSE_CONV", (_numbers(1, 8, 8, 8), _kernel(8, 2, 2, 8), IMAGES), {"version": 3}),
    ("QUANTIZE", (_tensor(dtype="uint8"),), {}),
]  # fmt: skip
LEFT = [
    ("HARD_SWISH", (IMAGES,), {}, "has no such operator; .*open_hard_swish"),
    ("edgetpu", (IMAGES,), {}, "has no such operator"),
    ("CONV_2D", (IMAGES, _kernel(8, 3, 3, 4)), {"version": 6}, "version 6 is newer.*TensorFlow 2.5; grouped"),
    ("TRANSPOSE_CONV", (IMAGES,), {"version": 4}, "version 4 is newer"),
    ("SLICE", (IMAGES,), {"version": 99}, "version 99 is newer"),
    ("CONV_2D", (IMAGES, _kernel(8, 3, 3, 4)), {"version": 5}, "it is grouped"),
    ("CONV_2D", (IMAGES, _kernel(8, 3, 3, 8)), {"dilationHFactor": 2, "dilationWFactor": 1}, "unequally"),
    ("CONV_2D", (IMAGES, _tensor((8, 3, 3, 8))), {}, "more than 3 axes|kernel is not constant"),
    ("ADD", (_tensor(dtype="int16"), IMAGES), {}, "it has int16"),
    ("ADD", (_tensor((2, 4, 4, 8)), IMAGES), {}, "2x4x4x8 has more than 3 axes above 1, or a batch"),
    ("ADD", (_tensor(signature=(-1, 4, 4, 8)), IMAGES), {}, "a size is not fixed"),
    ("MAX_POOL_2D", (IMAGES,), {"fusedActivationFunction": 1}, "fused activation"),
    ("CONCATENATION", (IMAGES, _tensor(data=np.full((1, 4, 4, 8), -2))), {}, "joins a constant"),
    ("FULLY_CONNECTED", (ROW, _kernel(10, 10)), {"output": _tensor((2, 10))}, "more than one row"),
    ("FULLY_CONNECTED", (ROW, _kernel(10, 10)), {"weightsFormat": 1}, "shuffled"),
    ("MEAN", (_tensor((1, 4, 4, 6)), _numbers(3)), {}, "over 6 channels; use a multiple of 4"),
    ("MEAN", (IMAGES, _numbers(0)), {}, "over the batch"),
    ("SUM", (IMAGES, _tensor((1,), "int8")), {}, "computed"),
    ("PAD", (IMAGES, _numbers([0, 1], [0, 0], [0, 0], [0, 0])), {}, "pads the batch"),
    ("SPLIT", (_numbers(0), IMAGES), {}, "along the batch"),
    ("PACK", (ROW,), {"axis": 0}, "along the batch"),
    ("PRELU", (IMAGES, _tensor(data=np.zeros((4, 4, 8)))), {}, "from pixel to pixel"),
    ("SOFTMAX", (WIDE_ROW,), {"output": WIDE_ROW}, "not one row of at most 16,000"),
    ("SQUEEZE", (_tensor((1, 4, 1, 8)),), {}, "takes away axes behind"),
    ("STRIDED_SLICE", (IMAGES, _numbers(0), _numbers(1), _numbers(1, 2, 2, 1)), {}, "skips elements"),
    ("STRIDED_SLICE", (IMAGES, _numbers(0), _numbers(1), _numbers(1)), {"newAxisMask": 1}, "new axes"),
    ("RESIZE_BILINEAR", (ROW,), {}, "resizes no images"),
]  # fmt: skip
UNSURE = [
    ("RESHAPE", (IMAGES,), {"output": _tensor((1, 16, 8))}, "large reshapes"),
    ("RESIZE_BILINEAR", (IMAGES,), {"output": _tensor((1, 8, 8, 8))}, "4x4 to 8x8 may be left out"),
]


@pytest.mark.parametrize(("kind", "inputs", "options"), FIT)
def test_what_fits(kind, inputs, options):
    assert _problem(kind, *inputs, **options) is None


@pytest.mark.parametrize(("kind", "inputs", "options", "text"), LEFT + UNSURE)
def test_what_does_not_is_named_with_the_cure(kind, inputs, options, text):
    problem = _problem(kind, *inputs, **options)
    assert problem.uncertain == ((kind, inputs, options, text) in UNSURE)
    with pytest.raises(ValueError, match=text):
        raise ValueError(str(problem))
    assert problem.cure


def test_the_rules_are_of_the_published_list():
    for name, support in SUPPORT.items():
        assert (name in RULED) == support.edge_tpu, name
