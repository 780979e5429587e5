import importlib.util

import pytest

from attokit import arena, export
from attokit.arena import arena_bytes


@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="needs tflite_micro")
def test_arena_holds_the_activations(finished, tmp_path):
    file = finished[0] / "model.tflite"
    peak = export.inspect(file).peak_ram
    assert peak <= arena_bytes(file) < peak + 10_000
    (tmp_path / "no.tflite").write_bytes(b"nonsense")
    assert arena_bytes(tmp_path / "no.tflite") is None


def test_without_the_interpreter(finished, monkeypatch):
    monkeypatch.setattr(arena.importlib.util, "find_spec", lambda name: None)
    assert arena_bytes(finished[0] / "model.tflite") is None


@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="needs tflite_micro")
def test_activations_and_records(finished):
    file = finished[0] / "model.tflite"
    parts = arena.arena(file)
    assert parts.total == arena_bytes(file)
    assert parts.activations >= export.inspect(file).peak_ram
    assert parts.records > 1000
