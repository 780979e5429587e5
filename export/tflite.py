"""From a graph to the bytes of a .tflite file."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export import flatbuffer
from attokit.export.brightness import METADATA, from_colours
from attokit.export.coral import fit_coral
from attokit.export.detection import DetectionPostProcess
from attokit.export.flatbuffer import Operator, Quantization, Tensor
from attokit.export.inspection import OPERATOR_NAMES, inspect
from attokit.export.lowerings.context import TARGETS, Context, Target
from attokit.export.lowerings.table import LOWERINGS
from attokit.export.memory_plan import PLAN_METADATA, dense_plan, plan_metadata, planned_size
from attokit.export.micro_rules import lacking_type
from attokit.export.probabilities import probabilities as after_softmax
from attokit.quant.graph import Graph, Weights, is_quantized
from attokit.quant.integer import INTERFACES, Interface, interface_types
from attokit.quant.ops.table import OPS
from attokit.quant.order import in_least_memory
from attokit.quant.params import QParams
from attokit.quant.wide import check_wide

InterfaceType = Interface
_PLAIN = ("bool", "int32")  # indices and conditions enter and leave as they are
INTERFACE_TYPES: tuple[InterfaceType, ...] = INTERFACES


def to_tflite(
    graph: Graph,
    weights: Weights,
    qparams: QParams | None = None,
    *,
    input_type: InterfaceType | None = None,
    output_type: InterfaceType | None = None,
    target: Target = "android",
    signature: str = "serving_default",
    description: str = "Written by Attokit.",
    metadata: Mapping[str, str | bytes] | None = None,
    names: bool = True,
    bare: bool = False,
    placed: int | None = None,
    detection: DetectionPostProcess | None = None,
    probabilities: bool = False,
    colours: bool = False,
) -> bytes:
    """Returns the graph as a TFLite file; the same arguments give the same bytes.

    Args:
      graph: As `quant.trace` made it, or `quant.widen`.
      weights: Its weights, trained or not.
      qparams: Scales and zero points: an INT8 file whose integers are those of
        `quant.fake_quant`.  None: a float32 file.
      input_type: What inputs are: "int8" (default; image bytes - 128), "uint8" (image bytes as a
        camera gives them) or "float32" (the default, and only choice, without `qparams`).  Inputs
        of 16 bits are "int16" (default) or "float32".
      output_type: Likewise of outputs.
      target: What is to run it.  "android" (LiteRT) has more operators than "micro" (TFLite
        Micro), whose operators stand in the order in which its arena is the smallest; "coral" has the
        forms that the Edge TPU's compiler reads.  The integers are the same.
      signature: Key of the file's one signature; its inputs and outputs have the graph's names.
      description: Free text that the file carries.
      metadata: Texts or bytes that it carries, by the name of the entry, such as how outputs are meant.
      names: Whether tensors keep the names of their layers, by which `verify` finds them; without, a
        file is smaller.
      bare: The smallest file, for "micro" alone: without names, without options that go without saying, and
        with one zero point per kernel rather than one per channel. TFLite Micro and Vela read it; LiteRT does
        not, nor does `verify`.
      placed: Says in a file for "micro" where its activations lie, with fewer gaps than TFLite Micro's planner
        leaves, and its inputs not before this many bytes (`memory_plan.dense_plan`).
      detection: Post-processing that follows a detector in the file; its outputs are float32.
      probabilities: The one output's logits leave the file as probabilities in float32.
      colours: Inputs of grey images [b, h, w, 1] take red, green and blue instead, [b, h, w, 3], of which
        the file makes their brightness first (`export.brightness`).

    Raises:
      ValueError: if a type is none of these or does not fit, if weights or qparams are of another
        graph, or if the target lacks operators.
    """
    given = _types(graph, graph.inputs, "input_type", input_type, qparams)
    returned = _types(graph, graph.outputs, "output_type", output_type, qparams)
    graph.check_arguments(weights, tuple(_Shaped(graph.tensors[n].shape) for n in graph.inputs))
    if target not in TARGETS:
        raise ValueError(f"no target {target!r}; choose one of {', '.join(TARGETS)}")
    if target == "micro":
        _check_micro(graph)
    elif placed is not None:
        raise ValueError(
            f"placed={placed} in a file for {target!r}, whose runtimes place activations themselves: choose target "
            "'micro', or leave it out"
        )
    elif bare:
        raise ValueError(
            f"bare=True in a file for {target!r}, whose runtimes read all of it: choose target 'micro', or leave "
            "it out"
        )
    if qparams is not None:
        check_wide(graph, "micro" if target == "micro" else "reference")

    def written(graph: Graph) -> bytes:
        context = Context(graph, weights, qparams, target)
        inputs, entry = [], []
        for name in graph.inputs:
            tensor, mixing = context.activation(name), []
            if colours:
                tensor, brightness = from_colours(tensor)
                mixing = [brightness]
            outer, operators = _enter(tensor, given[name])
            inputs.append((name, outer))
            entry += [*operators, *mixing]
        body = [operator for op in graph.ops for operator in LOWERINGS[op.kind](context, op)]
        if target == "micro":
            _check_types(body)
        if detection is not None:
            leave, outputs = _detect(graph, context, detection, output_type)
        elif probabilities:
            leave, outputs = _softmax(graph, context, output_type)
        else:
            leave, outputs = _ends(graph, context, returned)
        model = flatbuffer.Model(
            operators=(*entry, *body, *leave),
            inputs=tuple(inputs),
            outputs=outputs,
            signature=signature,
            description=description,
            metadata={**(metadata or {}), **({METADATA: "brightness"} if colours else {})},
            names=names,
            bare=bare,
        )
        file = flatbuffer.build(fit_coral(model) if target == "coral" else model)
        return file if placed is None else flatbuffer.build(_with_plan(model, file, placed))

    if target == "micro" and (other := in_least_memory(graph)) is not graph:
        return min(written(graph), written(other), key=planned_size)
    return written(graph)


def _with_plan(model: flatbuffer.Model, file: bytes, inputs_from: int) -> flatbuffer.Model:
    """Returns a model with the places of its activations among its metadata."""
    graph = inspect(file).main
    plan = {PLAN_METADATA: plan_metadata(graph, dense_plan(graph, inputs_from))}
    return dataclasses.replace(model, metadata={**model.metadata, **plan})


def _check_micro(graph: Graph) -> None:
    """Raises ValueError if the graph holds what TFLite Micro has no operators for."""
    for op in graph.ops:
        if OPS[op.kind].only_float:
            raise ValueError(
                f"TFLite Micro has no operators for {op.kind} ({op.outputs[0]!r}): write the networks alone, and "
                "leave the rest to the host (export.to_split_tflite, attokit export --split)"
            )


def _check_types(operators: Sequence[Operator]) -> None:
    """Raises ValueError if one makes whole numbers or conditions that TFLite Micro's kernel does not take."""
    for operator in operators:
        kind, made = OPERATOR_NAMES[operator.code], operator.outputs[0]
        if (problem := lacking_type(kind, made.dtype)) is not None:
            raise ValueError(f"{kind} ({made.name!r}): {problem}")


def _ends(
    graph: Graph, context: Context, types: dict[str, str]
) -> tuple[list[Operator], tuple[tuple[str, Tensor], ...]]:
    """Returns the operators that give outputs their types, and the outputs by name."""
    outputs, operators = [], []
    for name, label in zip(graph.outputs, graph.output_names, strict=True):
        outer, more = _leave(context.activation(name), types[name])
        outputs.append((label, outer))
        operators += more
    return operators, tuple(outputs)


def _detect(
    graph: Graph, context: Context, detection: DetectionPostProcess, output_type: str | None
) -> tuple[list[Operator], tuple[tuple[str, Tensor], ...]]:
    """Returns the operators of post-processing, and what they return by name."""
    if set(graph.output_names) != {"boxes", "scores"}:
        raise ValueError(
            f"the graph returns {', '.join(graph.output_names)}: post-processing follows detectors, which "
            "return boxes and scores"
        )
    if output_type not in (None, "float32"):
        raise ValueError(
            f"output_type {output_type!r}: post-processing returns float32; leave it out"
        )
    named = dict(zip(graph.output_names, graph.outputs, strict=True))
    boxes, scores = (context.activation(named[name]) for name in ("boxes", "scores"))
    detection.check(boxes.shape, scores.shape)
    return detection.operators(boxes, scores)


def _softmax(
    graph: Graph, context: Context, output_type: str | None
) -> tuple[list[Operator], tuple[tuple[str, Tensor], ...]]:
    """Returns the operators of a softmax behind the one output, and the output by name."""
    if len(graph.outputs) != 1 or not is_quantized(graph.tensors[graph.outputs[0]].dtype):
        raise ValueError(
            f"the graph returns {', '.join(graph.output_names)}: probabilities are made of one output of "
            "logits"
        )
    if output_type not in (None, "float32"):
        raise ValueError(f"output_type {output_type!r}: probabilities are float32; leave it out")
    operators, result = after_softmax(context.activation(graph.outputs[0]))
    return operators, ((graph.output_names[0], result),)


def write(path: str | os.PathLike[str], data: bytes) -> pathlib.Path:
    """Writes a file at once or not at all, and returns its path.

    Raises:
      OSError: if the folder is missing, read-only or full; nothing is left behind.
    """
    path = pathlib.Path(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only the owner reads
        os.replace(temporary, path)
    except OSError as err:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise OSError(
            f"cannot write {len(data):,} bytes to {str(path)!r}: {err.strerror or err}; "
            "choose a folder that exists, is writable and has room"
        ) from err
    return path


class _Shaped:
    """A stand-in for an input of which only the shape matters."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape, self.ndim = shape, len(shape)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _types(
    graph: Graph,
    names: Sequence[str],
    argument: str,
    value: InterfaceType | None,
    qparams: QParams | None,
) -> dict[str, str]:
    """Returns the type of each input or output."""
    if qparams is not None or value not in (*INTERFACE_TYPES, None):
        return interface_types(graph, names, argument, value)
    if value not in (None, "float32"):
        raise ValueError(
            f"{argument} {value!r} in a float32 file; pass qparams (quant.calibrate) "
            "for an INT8 file, or leave it out"
        )
    return dict.fromkeys(names, "float32")


def _enter(tensor: Tensor, outer_type: str) -> tuple[Tensor, list[Operator]]:
    """Returns what the caller gives, and the operator that turns it into the graph's input."""
    if tensor.dtype == outer_type or tensor.dtype in _PLAIN:
        return tensor, []
    outer = _converted(tensor, outer_type)
    code, version = schema.BuiltinOperator.QUANTIZE, 2 if tensor.dtype == "int16" else 1
    return outer, [_operator(code, version, schema.QuantizeOptionsT(), outer, tensor)]


def _leave(tensor: Tensor, outer_type: str) -> tuple[Tensor, list[Operator]]:
    """Returns what the caller gets, and the operator that makes it of the graph's output."""
    if tensor.dtype == outer_type or tensor.dtype in _PLAIN:
        return tensor, []
    outer = _converted(tensor, outer_type)
    if outer_type == "float32":
        code, options = schema.BuiltinOperator.DEQUANTIZE, schema.DequantizeOptionsT()
        version = 3 if tensor.dtype == "int16" else 2
        return outer, [_operator(code, version, options, tensor, outer)]
    code = schema.BuiltinOperator.QUANTIZE
    return outer, [_operator(code, 1, schema.QuantizeOptionsT(), tensor, outer)]


def _converted(tensor: Tensor, dtype: str) -> Tensor:
    """Returns the same reals in another type; uint8 is int8 plus 128."""
    quantization = None
    if dtype == "uint8" and tensor.quantization is not None:
        inner = tensor.quantization
        quantization = Quantization(inner.scale, inner.zero_point + np.int64(128))
    return Tensor(
        name=f"{tensor.name}/{dtype}", shape=tensor.shape, dtype=dtype, quantization=quantization
    )


def _operator(code: int, version: int, options: object, source: Tensor, target: Tensor) -> Operator:
    return Operator(
        code=code, version=version, options=options, inputs=(source,), outputs=(target,)
    )
