import functools
import importlib.util
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from attokit import export, quant
from attokit.export.ethos_u import COMPILED, CpuOperator, EthosUReport, _compile
from attokit.zoo.convolution import conv


@functools.cache
def _files():
    """An INT8 file that ends in an axis turned round, which the NPU lacks, and a float one."""
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 3, 8)), jnp.float32)
    images = jnp.linspace(0, 1, 8 * 8 * 3).reshape(1, 8, 8, 3)
    graph, weights = quant.trace(lambda v, x: conv(x, v)[:, ::-1, :, ::-1], kernel, images)
    qparams = quant.calibrate(graph, weights, [images])
    return (
        export.to_tflite(graph, weights, qparams, target="micro"),
        export.to_tflite(graph, weights),
    )


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u85-256"])
def test_vela_tells_memory_cycles_and_what_stays_on_the_cpu(accelerator, tmp_path):
    file = tmp_path / "model.tflite"
    file.write_bytes(_files()[0])
    report = export.ethos_u(file, accelerator)
    operators = sum(export.inspect(file).histogram.values())
    assert report.operators == operators and report.accelerator == accelerator
    assert report.memory["sram"] >= 8 * 8 * 8 and report.cycles > 0 and report.milliseconds > 0
    if accelerator.startswith("ethos-u55"):
        assert {op.kind for op in report.on_cpu} == {"REVERSE_V2"}
        assert all("reverse" in op.output and op.reason for op in report.on_cpu)
        assert f"{operators - len(report.on_cpu)} of {operators} on the NPU" in str(report)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_nothing_of_a_float_file_runs_on_it():
    report = export.ethos_u(_files()[1])
    assert len(report.on_cpu) == report.operators and report.cycles == 0
    assert "0 of" in str(report) and "memory in bytes: none" in str(report)


def test_prints_figures_and_reasons():
    report = EthosUReport(
        accelerator="ethos-u55-64", system="S", memory_mode="M",
        memory={"sram": 2048, "dram": 0}, cycles=500_000, clock_hz=5e8, operators=4,
        on_cpu=(CpuOperator(kind="GATHER", output="lookup", reason="Unsupported opType"),),
        file_bytes=3000,
    )  # fmt: skip
    printed = str(report)
    assert "3 of 4 on the NPU, 1 on the CPU" in printed
    assert "memory in bytes: sram 2,048; the compiled file 3,000" in printed
    assert "500,000 at 500 MHz, 1.000 ms, without those of the CPU" in printed
    assert "GATHER" in printed and "Unsupported opType" in printed


def test_bad_input(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no accelerator 'ethos-u1': choose one of ethos-u55-32"):
        export.ethos_u(_files()[0], "ethos-u1")
    with pytest.raises(ValueError, match="no TFLite file is that short"):
        export.ethos_u(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'attokit\[ethos-u\]'"):
        export.ethos_u(_files()[0])


@pytest.mark.slow
def test_a_compiled_file_is_refused(tmp_path):
    source = tmp_path / "model.tflite"
    source.write_bytes(_files()[0])
    _compile(source, "ethos-u55-128", "it")
    compiled = tmp_path / "model_vela.tflite"
    assert COMPILED in export.inspect(compiled).histogram
    with pytest.raises(ValueError, match=r"model_vela.tflite' is compiled for Ethos-U already"):
        export.ethos_u(compiled)


def test_what_vela_says_last_is_why_it_fails(monkeypatch):
    def fails(*arguments, **options):
        return subprocess.CompletedProcess(arguments, 1, "warning\n", "Error: no such operator\n")

    def hangs(*arguments, **options):
        raise subprocess.TimeoutExpired("vela", 600)

    for run, message in (
        (fails, "Vela cannot compile the flatbuffer for ethos-u55-128: Error: no such operator"),
        (hangs, "Vela did not finish the flatbuffer within 600 seconds"),
    ):
        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(ValueError, match=message):
            export.ethos_u(_files()[0])
