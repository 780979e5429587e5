import dataclasses
import json

import pytest
from hub_server import hub_server

from attokit import checkpoints
from attokit.checkpoints.index import INDEX, index_text
from attokit.cli import main


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A server with a hub of one name, whose files are not of a network: nobody looks into them."""
    monkeypatch.setenv("ATTOKIT_CACHE", str(tmp_path / "cache"))
    with hub_server() as server:
        monkeypatch.setenv("ATTOKIT_HUB", server.url)
        listed = {}
        for name, content in (("w", bytes(range(200))), ("m", b"12345")):
            server.files[f"/{name}"] = content
            (tmp_path / "file").write_bytes(content)
            sha256, size = checkpoints.describe_file(tmp_path / "file")
            listed[name] = checkpoints.HubFile(source=name, sha256=sha256, size=size)
        record = dataclasses.replace(
            checkpoints.info("attonet_d.fashion_mnist"),
            **dataclasses.asdict(listed["w"]), tflite=listed["m"],
        )  # fmt: skip
        server.files[f"/{INDEX}"] = index_text({"attonet_d.far": record}).encode()
        yield server


def test_downloads_into_the_cache(far, tmp_path, monkeypatch, capsys):
    assert main(["download", "attonet_d.far"]) == 0
    printed = capsys.readouterr()
    (weights, tflite) = printed.out.splitlines()
    assert weights.startswith(f"attonet_d.far: {tmp_path / 'cache'}")
    assert weights.endswith("attonet_d.far.safetensors, 200 bytes")
    assert tflite.endswith("attonet_d.far.tflite, 5 bytes")
    assert f"downloading attonet_d.far.safetensors, 200 bytes, from {far.url}/w" in printed.err
    assert main(["download", "attonet_d.far"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("ATTOKIT_OFFLINE", "1")
    count = len(far.requests)
    assert main(["download", "attonet_d.far", "attendseg_lite.scenes"]) == 0
    assert len(far.requests) == count


def test_copies(far, tmp_path, capsys):
    out = tmp_path / "out"
    names = ["attonet_d.far", "attonet_d.fashion_mnist"]
    assert main(["download", *names, "--output", str(out)]) == 0
    assert (out / "attonet_d.far/weights.safetensors").read_bytes() == bytes(range(200))
    assert (out / "attonet_d.far/model.tflite").read_bytes() == b"12345"
    assert "ATTOKIT_HUB" in (out / "attonet_d.far/README.md").read_text()
    assert "ATTOKIT_HUB" not in (out / "attonet_d.fashion_mnist/README.md").read_text()
    for name in names:
        assert (out / name / "labels.txt").read_text().splitlines()[9] == "Ankle boot"
    assert "weights.safetensors, README.md, labels.txt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("misbehaviour", "text"),
    [
        (("alter",), "it was altered, and is not kept"),
        (("length", 1), "has 201 bytes where 200 belong to its name"),
        (("status", 404), "the server answers 404 Not Found"),
    ],
)
def test_failures_are_one_line(far, capsys, misbehaviour, text):
    far.misbehaviours["/w"] = [misbehaviour]
    assert main(["download", "attonet_d.far"]) == 1
    notice, error = capsys.readouterr().err.splitlines()
    assert notice.startswith("downloading ")
    assert error.startswith("attokit download: ") and text in error


def test_unknown_names_and_indexes(far, capsys):
    assert main(["download", "attonet_d.fra", "attonet_d.far"]) == 1
    assert "did you mean attonet_d.far" in capsys.readouterr().err
    assert [path for path, _ in far.requests if path != f"/{INDEX}"] == []
    assert main(["download"]) == 1
    assert "attokit download: " in capsys.readouterr().err
    content = json.loads(far.files[f"/{INDEX}"]) | {"version": 7}
    far.files[f"/{INDEX}"] = json.dumps(content).encode()
    for kept in (checkpoints.cache_folder() / "indexes").iterdir():
        kept.unlink()
    assert main(["download", "attonet_d.far"]) == 1
    assert "this version of attokit reads up to 1: install a newer one" in capsys.readouterr().err
