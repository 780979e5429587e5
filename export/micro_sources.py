"""C++ sources of a file for TFLite Micro: its bytes, what goes in and out, the operators to register."""

import math
from collections.abc import Iterator, Mapping

from attokit.export.anatomy import Inspection, TensorInfo
from attokit.export.cpp_names import is_cpp_name
from attokit.export.detection import CUSTOM_CODE, post_process_scratch
from attokit.export.inspection import inspect
from attokit.export.micro_rules import refused_in_micro
from attokit.export.streamed import Streamed
from attokit.export.support import SUPPORT
from attokit.quant.live_bytes import bytes_of

_BYTES_PER_LINE = 16
# What is not the schema's name in capitals of words.
_METHODS = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    CUSTOM_CODE: "AddDetectionPostprocess",
}
# Of TFLite Micro on 64 bits, for where its interpreter is not installed to measure.
_BYTES_PER_OPERATOR, _BYTES_PER_TENSOR, _BYTES_PER_CHANNEL, _SLACK = 200, 64, 16, 4096


def micro_sources(file: bytes, name: str, arena_bytes: int | None = None) -> Mapping[str, str]:
    """Returns the sources by the names of their files.

    NAME.h declares, in a namespace NAME, `data`, `size`, `arena_bytes` and the shape, scale and zero point of
    inputs and outputs; NAME.cc holds the bytes, on a boundary of 16; NAME_ops.h has a type of resolver and
    registers the operators of the file, and no others, in it.

    Args:
      file: As `to_tflite` made it, best with target "micro".
      name: A name in C++.
      arena_bytes: That TFLite Micro needs, measured; estimated if None.

    Raises:
      ValueError: if TFLite Micro has no kernel for an operator, the file is damaged, or the name is none.
    """
    if not is_cpp_name(name):
        raise ValueError(
            f"{name!r} is no name of a namespace in C++: use letters, digits and underscores, and no word of the "
            "language"
        )
    info = inspect(file)
    measured = arena_bytes is not None
    arena = arena_bytes if arena_bytes is not None else _estimate(info)
    return {
        f"{name}.h": "\n".join(_header(info, name, arena, measured)) + "\n",
        f"{name}.cc": "\n".join(_contents(file, name)) + "\n",
        f"{name}_ops.h": "\n".join(_operators(info, name)) + "\n",
    }


def strips_header(files: Streamed, name: str, arena_bytes: int) -> str:
    """Returns a header of the plan by which a host calls the two files of `to_streamed_tflite`.

    It declares, in a namespace NAME, the constants of the loop, `calls` of (first row of the image, row of the
    map), `padding` per channel and `arena_bytes`.

    Args:
      files: The two, whose own sources are those of `micro_sources`.
      name: A name in C++.
      arena_bytes: Of the arena that both interpreters share.
    """
    plan = files.plan
    row_bytes = bytes_of(plan.rest, plan.map_name) // math.prod(plan.map_shape[:2])
    (image,) = (plan.strip.tensors[port] for port in plan.strip.inputs)
    calls = ", ".join(f"{{{first}, {at}}}" for first, at in plan.calls)
    lines = (
        "#pragma once",
        "",
        "#include <cstddef>",
        "",
        f"namespace {name} {{",
        "",
        f"constexpr std::size_t arena_bytes = {arena_bytes};  // of both interpreters, in one arena",
        f"constexpr int rows = {plan.rows};  // of the map, that a call makes",
        f"constexpr int strip_rows = {plan.strip_rows};  // of the image, that a call takes",
        f"constexpr std::size_t map_row_bytes = {row_bytes};",
        f"constexpr std::size_t image_row_bytes = {math.prod(image.shape[2:])};",
        f"constexpr int padding[] = {{{', '.join(map(str, files.padding.tolist()))}}};  // per channel",
        "",
        "struct Call {",
        "  int first;  // row of the image; those before 0 and after the last are padding",
        "  int row;    // of the map",
        "};",
        f"constexpr Call calls[] = {{{calls}}};",
        "",
        f"}}  // namespace {name}",
    )
    return "\n".join(lines) + "\n"


def resolver_methods(info: Inspection) -> tuple[str, ...]:
    """Returns the methods of a MicroMutableOpResolver that a file wants called, sorted.

    Raises:
      ValueError: if TFLite Micro has no kernel for some operator.
    """
    if refused := refused_in_micro(info.main):
        raise ValueError(refused)
    if unknown := sorted(info.histogram.keys() - _METHODS.keys() - SUPPORT.keys()):
        raise ValueError(
            f"whether TFLite Micro has {', '.join(unknown)} is not known here: register operators by hand"
        )
    return tuple(sorted(_method(kind) for kind in info.histogram))


def _method(kind: str) -> str:
    words = (w if w[0].isdigit() else w.capitalize() for w in kind.split("_"))
    return _METHODS.get(kind) or "Add" + "".join(words)


def _estimate(info: Inspection) -> int:
    graph = info.main
    channels = sum(t.scale.size for t in graph.tensors if t.constant)
    chosen = [op for op in graph.operators if op.kind == CUSTOM_CODE]
    return (
        max([info.peak_ram, *(op.live + post_process_scratch(graph, op) for op in chosen)])
        + _BYTES_PER_OPERATOR * len(graph.operators)
        + _BYTES_PER_TENSOR * len(graph.tensors)
        + _BYTES_PER_CHANNEL * channels
        + _SLACK
    )


def _header(info: Inspection, name: str, arena: int, measured: bool) -> Iterator[str]:
    how = "as its interpreter measures it on 64 bits" if measured else "estimated"
    yield from (
        "#pragma once",
        "",
        "#include <cstddef>",
        "#include <cstdint>",
        "",
        f"namespace {name} {{",
        "",
        "extern const unsigned char data[];  // the file, aligned to 16 bytes",
        f"constexpr std::size_t size = {info.size};",
        f"constexpr std::size_t arena_bytes = {arena};  // of TFLite Micro, {how}",
        "",
        "struct Port {",
        "  const char* name;",
        "  std::size_t bytes;",
        "  int rank;",
        "  int shape[6];",
        "  float scale;  // real = scale * (integer - zero_point); 0: not quantized",
        "  int zero_point;",
        "};",
        "",
    )
    for side, ports in (("inputs", info.inputs), ("outputs", info.outputs)):
        yield f"constexpr Port {side}[] = {{"
        yield from (f"    {_port(port, tensor)}," for port, tensor in ports.items())
        yield "};"
    yield ""
    yield f"}}  // namespace {name}"


def _port(name: str, tensor: TensorInfo) -> str:
    shape = ", ".join(map(str, tensor.shape))
    scale = float(tensor.scale[0]) if tensor.scale.size == 1 else 0.0
    zero_point = int(tensor.zero_point[0]) if tensor.zero_point.size == 1 else 0
    text = name.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'{{"{text}", {tensor.size}, {len(tensor.shape)}, {{{shape}}}, {scale!r}f, {zero_point}}}'
    )


def _contents(file: bytes, name: str) -> Iterator[str]:
    yield f'#include "{name}.h"'
    yield ""
    yield f"namespace {name} {{"
    yield ""
    yield "alignas(16) extern const unsigned char data[] = {"
    for start in range(0, len(file), _BYTES_PER_LINE):
        yield "    " + ", ".join(f"0x{b:02x}" for b in file[start : start + _BYTES_PER_LINE]) + ","
    yield "};"
    yield ""
    yield f"}}  // namespace {name}"


def _operators(info: Inspection, name: str) -> Iterator[str]:
    methods = resolver_methods(info)
    yield from (
        "#pragma once",
        "",
        '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"',
        "",
        f"namespace {name} {{",
        "",
        f"using Resolver = tflite::MicroMutableOpResolver<{len(methods)}>;",
        "",
        "// Adds the operators of the file; kTfLiteOk if all went well.",
        "inline TfLiteStatus register_operators(Resolver& resolver) {",
    )
    yield from (f"  if (resolver.{m}() != kTfLiteOk) return kTfLiteError;" for m in methods)
    yield from ("  return kTfLiteOk;", "}", "", f"}}  // namespace {name}")
