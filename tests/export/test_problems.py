import numpy as np

from attokit.export.anatomy import OperatorInfo, Subgraph, TensorInfo
from attokit.export.problems import Problem, Seen


def _tensor(shape, dtype="int8", data=None):
    contents = b"" if data is None else np.asarray(data, dtype).tobytes()
    return TensorInfo(
        name="t", shape=shape, dtype=dtype, size=1, constant=data is not None,
        scale=np.ones(1, np.float32), zero_point=np.zeros(1), axis=0, contents=memoryview(contents),
    )  # fmt: skip


def test_an_operator_with_its_tensors():
    tensors = (_tensor((1, 4, 4, 8)), _tensor((2,), "int32", (1, -2)), _tensor((1, 8), "int16"))
    operator = OperatorInfo(
        kind="MEAN", version=1, inputs=(0, 1, -1), outputs=(2,), macs=0, live=0,
        options={"keepDims": True, "nothing": None},
    )  # fmt: skip
    graph = Subgraph(name="", tensors=tensors, operators=(operator,), inputs=(0,), outputs=(2,))
    seen = Seen(graph, operator)
    assert (seen.shape(), seen.shape(2), seen.shape(3)) == ((1, 4, 4, 8), (), ())
    assert (seen.dtype(1), seen.dtype(2), seen.output.dtype) == ("int32", "", "int16")
    assert (seen.option("keepDims"), seen.option("nothing", 7), seen.option("other")) == (1, 7, 0)
    assert seen.axes() == {1, 2}
    assert seen.numbers(0) is None and seen.numbers(2) is None


def test_a_problem_says_what_and_what_to_change():
    assert str(Problem("it is large", "make it smaller")) == "it is large; make it smaller"
