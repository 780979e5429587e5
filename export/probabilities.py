"""Probabilities at the end of a classifier's file, of its logits: a softmax on float32.

An INT8 softmax has steps of 1/256; apps that show probabilities, or compare small ones, want more.
"""

import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator, Tensor


def probabilities(logits: Tensor) -> tuple[list[Operator], Tensor]:
    """Returns the operators that follow, and the probabilities, in the logits' shape."""
    codes, operators = schema.BuiltinOperator, []
    result = dataclasses.replace(
        logits, name=name_of(logits.name), dtype="float32", quantization=None
    )
    reals = logits
    if logits.dtype != "float32":
        reals = dataclasses.replace(result, name=f"{logits.name}/float32")
        version = 3 if logits.dtype == "int16" else 2
        operators.append(
            Operator(
                code=codes.DEQUANTIZE,
                version=version,
                options=schema.DequantizeOptionsT(),
                inputs=(logits,),
                outputs=(reals,),
            )
        )
    operators.append(
        Operator(
            code=codes.SOFTMAX,
            version=1,
            options=schema.SoftmaxOptionsT(beta=1.0),
            inputs=(reals,),
            outputs=(result,),
        )
    )
    return operators, result


def name_of(logits: str) -> str:
    """Returns the name of the tensor of probabilities that are made of logits."""
    return f"{logits}/probabilities"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities that the file should give, float32."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)
