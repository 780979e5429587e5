"""The Edge TPU's published limits, operator by operator: the problem that each has with one, if any.

Source: the list of operators of Coral's documentation, as its compiler 16 has it, and the operator versions
that TensorFlow 2.5 knows, beyond which that compiler does not parse a file.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ai_edge_litert import schema_py_generated as schema

from attokit.export.anatomy import OperatorInfo, Subgraph
from attokit.export.problems import Problem, Seen
from attokit.export.support import EDGE_TPU_RUNTIME, SUPPORT

_BYTES = ("int8", "uint8")
_INNER = 3  # how many of the last axes may be longer than 1
_SOFTMAX_ELEMENTS = 16_000
_CHANNELS_OF_MEAN = 4  # their multiples are summed over
_NO_ACTIVATION = schema.ActivationFunctionType.NONE
# How to write in JAX what it does not have.
_INSTEAD = {
    "HARD_SWISH": "quant.open_hard_swish(graph) before calibration, or a network with relu6",
    "LEAKY_RELU": "use relu, relu6 or prelu with a weight per channel",
    "GELU": "use relu or relu6",
    "GATHER": "use slices; attokit export --target coral folds permutations of channels",
    "BATCH_MATMUL": "attention has no form on this chip: end the TPU's part before it",
    "ARG_MAX": "leave it out: end with logits and take the class on the CPU",
    "TFLite_Detection_PostProcess": "it belongs at the end, where the CPU runs it",
    "DEPTH_TO_SPACE": "use resize and a convolution, or a transposed convolution",
}


def problem_of(graph: Subgraph, operator: OperatorInfo) -> Problem | None:
    """Returns what keeps an operator off the Edge TPU, or None."""
    support = SUPPORT.get(operator.kind)
    if operator.kind not in _RULES:
        return Problem(
            "the Edge TPU has no such operator", _INSTEAD.get(operator.kind, "do without")
        )
    seen = Seen(graph, operator)
    if not operator.outputs or not operator.inputs:
        return Problem("it has no inputs or outputs", "export the file again")
    if support is not None and _too_new(support.runtimes, operator.version):
        cure = "write the form that older runtimes have"
        if operator.kind == "CONV_2D":
            cure = "grouped: attokit export --target coral splits it"
        return Problem(
            f"version {operator.version} is newer than its compiler, which knows those of "
            f"TensorFlow {'.'.join(map(str, EDGE_TPU_RUNTIME))}",
            cure,
        )
    return _of_tensors(seen) or _RULES[operator.kind](seen)


def _too_new(runtimes: Mapping[int, str], version: int) -> bool:
    """Whether a version came after the compiler; of versions in between, the next lower one counts."""
    if version > max(runtimes):
        return True
    lower = [known for known in runtimes if known <= version]
    runtime = runtimes[max(lower)] if lower else "1.5"
    return tuple(map(int, runtime.split("."))) > EDGE_TPU_RUNTIME


def _of_tensors(seen: Seen) -> Problem | None:
    """Returns what is wrong with types or sizes, which all operators share."""
    for index in seen.operator.present:
        tensor = seen.graph.tensors[index]
        if not tensor.static:
            return Problem("a size is not fixed", "trace with fixed sizes and a batch of 1")
        if tensor.constant and tensor.dtype == "int32":
            continue
        if tensor.dtype not in _BYTES:
            return Problem(
                f"it has {tensor.dtype}, the Edge TPU only 8 bits",
                "quantize it to int8: no --int16, no --float32",
            )
        if tensor.constant:
            continue
        outer = math.prod(tensor.shape[:-_INNER])
        if outer != 1:
            return Problem(
                f"{'x'.join(map(str, tensor.shape))} has more than {_INNER} axes above 1, or a batch",
                "use a batch of 1 and at most three axes",
            )
    return None


def _nothing(seen: Seen) -> Problem | None:
    del seen
    return None


def _no_activation(seen: Seen) -> Problem | None:
    if seen.option("fusedActivationFunction") != _NO_ACTIVATION:
        return Problem("it has a fused activation", "apply the activation before it")
    return None


def _constant_kernel(seen: Seen) -> Problem | None:
    kernel = seen.input(1)
    if kernel is None or not kernel.constant:
        return Problem("its kernel is not constant", "multiply with weights only")
    bias = seen.input(2)
    if bias is not None and not bias.constant:
        return Problem("its bias is not constant", "add what is computed in an ADD")
    return None


def _convolution(seen: Seen) -> Problem | None:
    if seen.option("dilationHFactor", 1) != seen.option("dilationWFactor", 1):
        return Problem("rows and columns are dilated unequally", "dilate both alike")
    kernel, images = seen.input(1), seen.input(0)
    grouped = (
        seen.operator.kind == "CONV_2D"
        and kernel is not None
        and images is not None
        and kernel.shape[-1:] != images.shape[-1:]
    )
    if grouped:
        return Problem("it is grouped", "attokit export --target coral splits it")
    return _constant_kernel(seen)


def _dense(seen: Seen) -> Problem | None:
    if seen.option("weightsFormat") != 0:
        return Problem("its weights are shuffled", "write the default format")
    if math.prod(seen.output.shape[:-1]) != 1:
        return Problem(
            f"its output {'x'.join(map(str, seen.output.shape))} is more than one row",
            "write it as a 1x1 convolution",
        )
    return _constant_kernel(seen)


def _transposed(seen: Seen) -> Problem | None:
    kernel, images = seen.input(1), seen.input(2)
    if kernel is None or not kernel.constant or images is None:
        return Problem("its kernel is not constant", "multiply with weights only")
    return None


def _concatenation(seen: Seen) -> Problem | None:
    constants = [i for i in seen.operator.inputs if i >= 0 and seen.graph.tensors[i].constant]
    if constants:
        values = seen.graph.tensors[constants[0]].values()
        zero = seen.graph.tensors[constants[0]].zero_point
        plain = values is not None and zero.size == 1 and not (values - zero[0]).any()
        if len(seen.operator.inputs) != 2 or not plain:
            return Problem("it joins a constant", "join zeros only, and to one tensor")
    return _no_activation(seen)


def _reduction(seen: Seen) -> Problem | None:
    axes, rank = seen.axes(), len(seen.shape())
    if axes is None:
        return Problem("its axes are computed", "reduce over axes that are known")
    if rank == 4 and 0 in axes:
        return Problem("it reduces over the batch", "keep the batch")
    return None


def _mean(seen: Seen) -> Problem | None:
    axes, shape = seen.axes(), seen.shape()
    if axes is not None and len(shape) - 1 in axes and shape[-1] % _CHANNELS_OF_MEAN:
        return Problem(
            f"it reduces over {shape[-1]} channels",
            f"use a multiple of {_CHANNELS_OF_MEAN} channels",
        )
    return _reduction(seen)


def _pad(seen: Seen) -> Problem | None:
    widths = seen.numbers(1)
    if widths is None:
        return Problem("its widths are computed", "pad by what is known")
    if len(seen.shape()) == 4 and widths.reshape(-1, 2)[0].any():
        return Problem("it pads the batch", "keep the batch")
    return None


def _over_batch(seen: Seen) -> Problem | None:
    """Of PACK and SPLIT, which may not be along the batch."""
    axis, rank = seen.option("axis"), len(seen.output.shape)
    if seen.operator.kind == "SPLIT":
        found = seen.numbers(0)
        if found is None:
            return Problem("its axis is computed", "split along an axis that is known")
        axis = int(found.reshape(-1)[0])
    if axis % max(rank, 1) == 0:
        return Problem("it is along the batch", "choose another axis")
    return None


def _prelu(seen: Seen) -> Problem | None:
    slopes = seen.shape(1)
    if math.prod(slopes[:-1]) != 1:
        return Problem("its slopes differ from pixel to pixel", "use a slope per channel")
    return None


def _reshape(seen: Seen) -> Problem | None:
    if max(seen.output.shape, default=1) == math.prod(seen.output.shape):
        return None
    return Problem(
        "large reshapes may be left out; from which size was not published",
        "see what the compiler says",
        uncertain=True,
    )


def _resize(seen: Seen) -> Problem | None:
    images, output = seen.shape(), seen.output.shape
    if len(images) != 4 or len(output) != 4:
        return Problem("it resizes no images", "give images of four axes")
    return Problem(
        f"a resize {images[1]}x{images[2]} to {output[1]}x{output[2]} may be left out to keep precision; "
        "from which size was not published",
        "see what the compiler says; end with output=quarter to do without the last",
        uncertain=True,
    )


def _softmax(seen: Seen) -> Problem | None:
    shape = seen.output.shape
    if math.prod(shape[:-1]) != 1 or shape[-1] > _SOFTMAX_ELEMENTS:
        return Problem(
            f"{'x'.join(map(str, shape))} is not one row of at most {_SOFTMAX_ELEMENTS:,}",
            "leave the softmax to the CPU, at the end",
        )
    return None


def _squeeze(seen: Seen) -> Problem | None:
    shape = seen.shape()
    kept = [i for i, n in enumerate(shape) if n != 1]
    if kept and any(n == 1 for n in shape[kept[0] :]):
        return Problem("it takes away axes behind longer ones", "use a reshape")
    return None


def _strided_slice(seen: Seen) -> Problem | None:
    strides = seen.numbers(3)
    if strides is None or (strides != 1).any():
        return Problem("it skips elements", "use a pooling or a convolution with strides")
    if seen.option("ellipsisMask") or seen.option("newAxisMask"):
        return Problem("it has an ellipsis or new axes", "name every axis and reshape")
    return None


_RULES: Mapping[str, Callable[[Seen], Problem | None]] = MappingProxyType(
    {
        "ADD": _nothing,
        "AVERAGE_POOL_2D": _no_activation,
        "CONCATENATION": _concatenation,
        "CONV_2D": _convolution,
        "DEPTHWISE_CONV_2D": _convolution,
        "EXPAND_DIMS": _nothing,
        "FULLY_CONNECTED": _dense,
        "L2_NORMALIZATION": _nothing,
        "LOGISTIC": _nothing,
        "MAXIMUM": _nothing,
        "MAX_POOL_2D": _no_activation,
        "MEAN": _mean,
        "MINIMUM": _nothing,
        "MUL": _nothing,
        "PACK": _over_batch,
        "PAD": _pad,
        "PRELU": _prelu,
        "QUANTIZE": _nothing,
        "REDUCE_MAX": _reduction,
        "REDUCE_MIN": _reduction,
        "RELU": _nothing,
        "RELU6": _nothing,
        "RELU_N1_TO_1": _nothing,
        "RESHAPE": _reshape,
        "RESIZE_BILINEAR": _resize,
        "RESIZE_NEAREST_NEIGHBOR": _resize,
        "RSQRT": _nothing,
        "SLICE": _nothing,
        "SOFTMAX": _softmax,
        "SPACE_TO_DEPTH": _nothing,
        "SPLIT": _over_batch,
        "SQUARED_DIFFERENCE": _nothing,
        "SQUEEZE": _squeeze,
        "STRIDED_SLICE": _strided_slice,
        "SUB": _nothing,
        "SUM": _reduction,
        "TANH": _nothing,
        "TRANSPOSE": _nothing,
        "TRANSPOSE_CONV": _transposed,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _nothing,
    }
)
RULED = frozenset(_RULES)
