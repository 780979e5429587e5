import pathlib
import shutil
import subprocess
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from coral_networks import convolved, network, weights_of

from attokit import export, quant
from attokit.arena import arena
from attokit.export.micro_sources import micro_sources, resolver_methods
from attokit.export.support import SUPPORT

ROOT = pathlib.Path(__file__).resolve().parents[2]
_GXX = shutil.which("g++")
needs_compiler = pytest.mark.skipif(_GXX is None, reason="there is no g++")
# What examples/micro uses of TFLite Micro, whose headers no wheel has.
_STUB = {
    "micro_mutable_op_resolver.h": """
        #pragma once
        enum TfLiteStatus { kTfLiteOk, kTfLiteError };
        namespace tflite {
        template <unsigned int n> struct MicroMutableOpResolver { METHODS };
        }""",
    "micro_interpreter.h": """
        #pragma once
        #include <cstddef>
        #include <cstdint>
        #include "micro_mutable_op_resolver.h"
        union Data { std::int8_t* int8; };
        struct TfLiteTensor { Data data; };
        namespace tflite {
        struct Model;
        struct MicroAllocator;
        struct MicroInterpreter {
          template <typename R> MicroInterpreter(const Model*, const R&, std::uint8_t*, std::size_t);
          template <typename R> MicroInterpreter(const Model*, const R&, MicroAllocator*);
          TfLiteStatus AllocateTensors();
          TfLiteStatus Invoke();
          TfLiteTensor* input(std::size_t);
          TfLiteTensor* output(std::size_t);
        };
        }""",
    "micro_allocator.h": """
        #pragma once
        #include <cstddef>
        #include <cstdint>
        namespace tflite {
        struct MicroAllocator { static MicroAllocator* Create(std::uint8_t*, std::size_t); };
        }""",
    "micro_log.h": "#pragma once\nvoid MicroPrintf(const char*, ...);",
}


def _write(folder, texts):
    for name, text in texts.items():
        (folder / name).write_text(text)


def _gxx(folder, *arguments):
    command = [_GXX, "-std=c++17", "-Wall", "-Wextra", "-Werror", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_the_compiled_bytes_are_the_file(small, tmp_path):
    _write(tmp_path, micro_sources(small.file, "model", 12_345))
    program = r"""
        #include <cstdio>
        #include "model.h"
        static_assert(model::arena_bytes == 12345);
        int main() {
          std::fwrite(model::data, 1, model::size, stdout);
          const auto& port = model::inputs[0];
          std::fprintf(stderr, "%s %zu %d %d %.9g %d %d", port.name, port.bytes, port.rank, port.shape[3],
                       port.scale, port.zero_point, (int)(reinterpret_cast<std::uintptr_t>(model::data) % 16));
        }"""
    (tmp_path / "show.cc").write_text(program)
    _gxx(tmp_path, "show.cc", "model.cc", "-o", "show")
    done = subprocess.run([tmp_path / "show"], capture_output=True)
    assert zlib.crc32(done.stdout) == zlib.crc32(small.file)
    name, size, rank, channels, scale, zero_point, rest = done.stderr.decode().split()
    tensor = export.inspect(small.file).inputs["input"]
    assert (name, int(size), int(rank), int(channels)) == ("input", 243, 4, 3)
    assert np.float32(scale) == tensor.scale[0]
    assert (int(zero_point), int(rest)) == (-128, 0)


def _stub(folder, *files):
    """Writes headers in place of TFLite Micro's."""
    headers, schema = (folder / "tensorflow/lite" / name for name in ("micro", "schema"))
    headers.mkdir(parents=True)
    schema.mkdir()
    names = {name for file in files for name in resolver_methods(export.inspect(file))}
    methods = " ".join(f"TfLiteStatus {name}();" for name in sorted(names))
    _write(headers, {name: text.replace("METHODS", methods) for name, text in _STUB.items()})
    (schema / "schema_generated.h").write_text(
        "#pragma once\nnamespace tflite { struct Model; const Model* GetModel(const void*); }"
    )


@needs_compiler
def test_the_sample_compiles_against_what_is_generated(small, tmp_path):
    _write(tmp_path, micro_sources(small.file, "model"))
    _stub(tmp_path, small.file)
    shutil.copy(ROOT / "examples/micro/main.cc", tmp_path)
    _gxx(tmp_path, "-I.", "-c", "main.cc", "-o", "main.o")


@needs_compiler
def test_the_sample_of_two_files_compiles_too(tmp_path):
    net = network(
        lambda v, x: convolved(x, v["k"], strides=(2, 2)).mean((1, 2)),
        weights_of(k=(3, 3, 3, 4)),
        9,
        9,
        3,
    )
    files = export.to_streamed_tflite(net.graph, net.weights, net.qparams, rows=2)
    for part in ("strip", "rest"):
        _write(tmp_path, micro_sources(getattr(files, part), f"model_{part}"))
    (tmp_path / "model_strips.h").write_text(export.strips_header(files, "model_strips", 54_321))
    _stub(tmp_path, files.strip, files.rest)
    shutil.copy(ROOT / "examples/micro/streamed.cc", tmp_path)
    _gxx(tmp_path, "-I.", "-c", "streamed.cc", "-o", "streamed.o")
    rows, width = files.plan.map_shape[1:3]
    (tmp_path / "check.cc").write_text(
        f"""
        #include "model_strips.h"
        static_assert(model_strips::arena_bytes == 54321 && model_strips::rows == 2);
        static_assert(model_strips::map_row_bytes == {width * 4});
        static_assert(model_strips::image_row_bytes == 9 * 3);
        static_assert(model_strips::calls[1].row == {files.plan.calls[1][1]});
        static_assert(sizeof model_strips::calls / sizeof model_strips::calls[0] == {-(-rows // 2)});
        static_assert(sizeof model_strips::padding / sizeof(int) == 3);
        """
    )
    _gxx(tmp_path, "-c", "check.cc", "-o", "check.o")


def test_the_operators_of_the_file_and_no_others(small):
    assert resolver_methods(export.inspect(small.file)) == (
        "AddAdd", "AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddMean",
    )  # fmt: skip
    ops = micro_sources(small.file, "net")["net_ops.h"]
    assert "MicroMutableOpResolver<5>" in ops
    assert "namespace net" in ops


def test_an_estimate_where_nothing_was_measured(small, tmp_path):
    header = micro_sources(small.file, "net")["net.h"]
    estimate = int(header.split("arena_bytes = ")[1].split(";")[0])
    assert "estimated" in header
    measured = arena(export.write(tmp_path / "net.tflite", small.file))
    assert measured is None or measured.total <= estimate < 3 * measured.total


def test_what_it_has_not_is_refused(small):
    net = network(
        lambda v, x: jax.nn.gelu(convolved(x, v["k"])), weights_of(k=(1, 1, 3, 4)), 4, 4, 3
    )
    file = export.to_tflite(net.graph, net.weights)
    assert not SUPPORT["GELU"].micro
    with pytest.raises(ValueError, match="GELU: TFLite Micro has no such operator"):
        micro_sources(file, "net")
    for name in ("1st", "float"):
        with pytest.raises(ValueError, match=f"'{name}' is no name"):
            micro_sources(small.file, name)


@pytest.mark.parametrize("function", [jnp.exp, jnp.log])
def test_some_functions_it_has_for_floats_alone(function):
    x = jnp.linspace(0.5, 2, 4)[None]
    graph, weights = quant.trace(lambda _, x: function(x), (), x)
    file = export.to_tflite(graph, weights, target="micro")
    (kind,) = export.inspect(file).histogram
    assert not SUPPORT[kind].micro
    assert resolver_methods(export.inspect(file)) == (f"Add{kind.capitalize()}",)
    found = export.run(file, x, kernels="micro")["output"]
    np.testing.assert_allclose(found, function(x), rtol=1e-6)
