"""A 1x1 convolution that a file needs and no layer of the network is: channels in another order, or mixed."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from jaxtyping import Num

from attokit.export.flatbuffer import Operator, Quantization, Tensor


def pointwise(
    source: Tensor, target: Tensor, name: str, kernel: Num[np.ndarray, "o i"], scale: float = 1.0
) -> Operator:
    """Returns the operator that makes one tensor of another by a matrix of channels.

    Args:
      source: [b, h, w, i], int8 or float32.
      target: [b, h, w, o] of the same type.
      name: Of the kernel; the bias, which is zero, has the target's.
      kernel: In the tensors' type.
      scale: Of the kernel's integers.
    """
    integer, count = source.dtype == "int8", len(kernel)
    scales, zeros = np.full(count, scale, np.float32), np.zeros(count, np.int64)
    given = None if source.quantization is None else source.quantization.scale
    data = kernel.astype(source.dtype)[:, None, None, :]
    weights = Tensor(
        name=name, shape=data.shape, dtype=source.dtype, data=data,
        quantization=Quantization(scales, zeros, 0) if integer else None,
    )  # fmt: skip
    bias = Tensor(
        name=f"{target.name}/bias", shape=(count,), dtype="int32" if integer else "float32",
        data=np.zeros(count, np.int32 if integer else np.float32),
        quantization=None if given is None else Quantization(scales * given, zeros, 0),
    )  # fmt: skip
    return Operator(
        code=schema.BuiltinOperator.CONV_2D,
        version=3 if integer else 1,
        options=schema.Conv2DOptionsT(
            padding=schema.Padding.VALID, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1
        ),
        inputs=(source, weights, bias),
        outputs=(target,),
    )
