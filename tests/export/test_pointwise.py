import numpy as np
import pytest

from attokit import export
from attokit.export import flatbuffer
from attokit.export.flatbuffer import Model, Quantization, Tensor
from attokit.export.pointwise import pointwise


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_channels_are_mixed(dtype):
    kernel = np.asarray([[1, 2, 0], [0, -1, 1]], dtype)
    unit = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))
    given = None if dtype == "float32" else unit
    source = Tensor(name="x", shape=(1, 2, 2, 3), dtype=dtype, quantization=given)
    target = Tensor(name="y", shape=(1, 2, 2, 2), dtype=dtype, quantization=given)
    operator = pointwise(source, target, "k", kernel, scale=2.0)
    model = Model(
        operators=(operator,), inputs=(("x", source),), outputs=(("y", target),),
        signature="serving_default", description="",
    )  # fmt: skip
    x = np.arange(-6, 6).reshape(1, 2, 2, 3)
    factor = 2 if dtype == "int8" else 1  # the scale is of integers
    wanted = factor * (x @ kernel.T.astype(int))
    for kernels in ("reference", "micro"):
        found = export.run(flatbuffer.build(model), x.astype(dtype), kernels=kernels)["y"]
        np.testing.assert_array_equal(found, wanted)
