import hashlib

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from attokit import export, quant
from attokit.exported_files import label, write_file, write_sources

NAMES = ("cat", "dog")


@pytest.fixture(scope="module")
def file():
    """Returns a file of one layer."""
    x = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
    graph, weights = quant.trace(lambda k, x: x @ k, jnp.ones((4, 3)), x)
    return export.to_tflite(graph, weights, quant.calibrate(graph, weights, [x]), target="micro")


@pytest.fixture
def console():
    return Console(record=True, width=60)


def test_a_file_is_described_as_it_lies_there(file, tmp_path, console):
    path = tmp_path / "net.tflite"
    write_file(path, file, console)
    assert path.read_bytes() == file
    told = console.export_text()
    assert f"wrote {path}: {len(file):,} bytes" in told
    assert f"{export.inspect(file).macs:,} MACs" in told
    assert f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in told


def test_sources_have_names_that_cpp_takes(file, tmp_path, console):
    path = export.write(tmp_path / "2 nets-x.tflite", file)
    write_sources(path, file, console)
    made = sorted(p.name for p in tmp_path.iterdir() if p != path)
    assert made == ["_2_nets_x.cc", "_2_nets_x.h", "_2_nets_x_ops.h"]
    assert "namespace _2_nets_x {" in (tmp_path / "_2_nets_x.h").read_text()


def test_labels_are_written_once(tmp_path, console):
    path = tmp_path / "labels.txt"
    label(path, NAMES, console)
    assert path.read_text().splitlines() == list(NAMES)
    label(path, NAMES, console)
    assert console.export_text().count("wrote") == 1


@pytest.mark.parametrize("there", [b"one\ntwo\n", b"\xff\xfe"])
def test_other_labels_stay(tmp_path, console, there):
    path = tmp_path / "labels.txt"
    path.write_bytes(there)
    label(path, NAMES, console)
    assert path.read_bytes() == there
    assert "is left as it is" in console.export_text().replace("\n", "")
