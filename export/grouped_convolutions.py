"""Convolutions in groups, written with operators that know no groups.

A grouped CONV_2D is version 6 (TensorFlow 2.9), which older compilers do not parse. Its integers come out
the same of a convolution over all channels whose kernel is zero outside its groups, or of one convolution
for each group between SPLIT and CONCATENATION.
"""

import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Model, Operator, Quantization, Tensor
from attokit.export.wiring import replaced

_CHANNELS = 3
_BYTES_PER_GROUP = 270  # of a file, as measured: an operator, its tensors and their scales
_VERSIONS = {"int8": 3, "int16": 4, "float32": 1}
_SPLIT_VERSIONS = {"int8": 2, "int16": 4, "float32": 1}
_JOIN_VERSIONS = {"int8": 2, "int16": 3, "float32": 1}


def split_grouped(model: Model) -> Model:
    """Returns the model without grouped CONV_2D; each becomes what makes the smaller file."""
    return replaced(
        model,
        {
            operator: _smaller(operator, groups)
            for operator in model.operators
            if (groups := _groups(operator)) > 1
        },
    )


def _groups(operator: Operator) -> int:
    if operator.code != schema.BuiltinOperator.CONV_2D or operator.inputs[1].data is None:
        return 1
    images, kernel = operator.inputs[:2]
    return images.shape[_CHANNELS] // kernel.shape[_CHANNELS]


def _smaller(operator: Operator, groups: int) -> tuple[Operator, ...]:
    kernel = operator.inputs[1]
    assert kernel.data is not None
    zeros = (groups - 1) * kernel.data.size * (4 if kernel.dtype == "float32" else 1)
    return (dense(operator),) if zeros <= groups * _BYTES_PER_GROUP else apart(operator)


def dense(operator: Operator) -> Operator:
    """Returns a grouped convolution as one over all channels, with zeros in its kernel."""
    images, kernel = operator.inputs[:2]
    assert kernel.data is not None
    groups, width = _groups(operator), kernel.shape[_CHANNELS]
    block = kernel.shape[0] // groups
    data = np.zeros((*kernel.shape[:_CHANNELS], images.shape[_CHANNELS]), kernel.data.dtype)
    for g in range(groups):
        rows = slice(g * block, (g + 1) * block)
        data[rows, ..., g * width : (g + 1) * width] = kernel.data[rows]
    return _convolution(operator, images, _with_data(kernel, data), operator.inputs[2:], operator.outputs)  # fmt: skip


def apart(operator: Operator) -> tuple[Operator, ...]:
    """Returns a grouped convolution as SPLIT, a convolution per group and CONCATENATION."""
    images, kernel = operator.inputs[:2]
    (output,) = operator.outputs
    groups = _groups(operator)
    block, width = kernel.shape[0] // groups, kernel.shape[_CHANNELS]
    axis = Tensor(
        name=f"{output.name}/axis", shape=(), dtype="int32", data=np.asarray(_CHANNELS, np.int32)
    )
    ins = [_part(images, f"{output.name}/in{g}", width) for g in range(groups)]
    outs = [_part(output, f"{output.name}/out{g}", block) for g in range(groups)]
    codes = schema.BuiltinOperator
    split = Operator(
        code=codes.SPLIT,
        version=_SPLIT_VERSIONS[images.dtype],
        options=schema.SplitOptionsT(numSplits=groups),
        inputs=(axis, images),
        outputs=tuple(ins),
    )
    convolutions = []
    for g in range(groups):
        rows = slice(g * block, (g + 1) * block)
        biases = tuple(rows_of(bias, rows) for bias in operator.inputs[2:])
        convolutions.append(
            _convolution(operator, ins[g], rows_of(kernel, rows), biases, (outs[g],))
        )
    join = Operator(
        code=codes.CONCATENATION,
        version=_JOIN_VERSIONS[output.dtype],
        options=schema.ConcatenationOptionsT(axis=_CHANNELS),
        inputs=tuple(outs),
        outputs=(output,),
    )
    return (split, *convolutions, join)


def rows_of(tensor: Tensor, rows: slice | np.ndarray) -> Tensor:
    """Returns some entries of a constant's first axis, which may be the axis of its scales."""
    assert tensor.data is not None
    changed = _with_data(tensor, tensor.data[rows])
    scales = tensor.quantization
    if scales is None or scales.scale.size == 1 or scales.axis != 0:
        return changed
    return dataclasses.replace(
        changed, quantization=Quantization(scales.scale[rows], scales.zero_point[rows], 0)
    )


def _convolution(
    operator: Operator,
    images: Tensor,
    kernel: Tensor,
    biases: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
) -> Operator:
    """Returns a convolution like another, without groups; a kernel of 4 bits is written in 8."""
    dilated = max(operator.options.dilationHFactor, operator.options.dilationWFactor) > 1
    version = 2 if dilated and images.dtype == "float32" else _VERSIONS[images.dtype]
    kernel = dataclasses.replace(kernel, dtype="int8") if kernel.dtype == "int4" else kernel
    return dataclasses.replace(
        operator, version=version, inputs=(images, kernel, *biases), outputs=outputs
    )


def _with_data(tensor: Tensor, data: np.ndarray) -> Tensor:
    return dataclasses.replace(tensor, data=data, shape=data.shape)


def _part(tensor: Tensor, name: str, channels: int) -> Tensor:
    return dataclasses.replace(tensor, name=name, shape=(*tensor.shape[:_CHANNELS], channels))
