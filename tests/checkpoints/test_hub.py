import dataclasses
import json
import os

import numpy as np
import pytest

from attokit import checkpoints
from attokit.checkpoints import HubFile, Weights, describe_file, hub
from attokit.checkpoints.index import INDEX, index_text
from attokit.checkpoints.transfer import Patience
from attokit.checkpoints.weights import save_weights

HASTE = Patience(timeout_s=2, tries=2, first_wait_s=0.001)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"params": {"w": np.ones(2, np.float32)}})
    sha256, size = describe_file(path)
    weights = Weights(
        model="attonet_d",
        overrides={},
        source=path.as_uri(),
        sha256=sha256,
        size=size,
        preprocessing={"image_shape": (28, 28, 1), "range": (0, 1)},
        metrics={"accuracy": 0.5},
        recipe="none",
        commit="0",
        license="Apache-2.0",
    )
    return {"attonet_d.test": weights}


def _release(table, **more):
    """Returns an index of the table, for files that lie beside it."""
    record = dataclasses.replace(table["attonet_d.test"], source="w.safetensors", **more)
    return index_text({"attonet_d.test": record})


@pytest.fixture
def far(server, table, tmp_path, monkeypatch):
    """The server, as a hub that has the table's file."""
    server.files["/nets/w.safetensors"] = (tmp_path / "w.safetensors").read_bytes()
    server.files[f"/nets/{INDEX}"] = _release(table).encode()
    monkeypatch.setenv("ATTOKIT_HUB", f"{server.url}/nets/")
    return server


def test_loads_by_name(table):
    assert hub.load("attonet_d.test", table=table)["params"]["w"].tolist() == [1, 1]
    assert hub.names(table) == ("attonet_d.test",)


def test_unknown_names_get_near_ones(table):
    with pytest.raises(
        ValueError, match=r"no weights 'attonet_d.tset': did you mean attonet_d.test"
    ):
        hub.info("attonet_d.tset", table)
    with pytest.raises(ValueError, match=r"there are: attonet_d\.test"):
        hub.info("zzz", table)
    with pytest.raises(ValueError, match="the table is empty"):
        hub.info("zzz", {})


def test_altered_or_missing_file(table, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"is not the file of attonet_d\.test"):
        hub.load("attonet_d.test", table=table)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot read attonet_d\.test\.safetensors at"):
        hub.load("attonet_d.test", table=table)


def test_other_schemes_are_refused(table):
    remote = dataclasses.replace(table["attonet_d.test"], source="ftp://example.org/w")
    with pytest.raises(ValueError, match="scheme 'ftp', which cannot be fetched"):
        hub.fetch("x", {"x": remote})


def test_package_source(table):
    inside = dataclasses.replace(table["attonet_d.test"], source="package:none.safetensors")
    with pytest.raises(ValueError, match=r"cannot read x\.safetensors at .*assets"):
        hub.fetch("x", {"x": inside})


def test_a_hub_behind_an_address(far):
    assert hub.names() == (*sorted([*checkpoints.WEIGHTS, "attonet_d.test"]),)
    assert hub.info("attonet_d.test").source == f"{far.url}/nets/w.safetensors"
    assert hub.load("attonet_d.test")["params"]["w"].tolist() == [1, 1]
    assert hub.fetch("attonet_d.test").name == "attonet_d.test.safetensors"
    asked = [path for path, _ in far.requests]
    assert asked == [f"/nets/{INDEX}", "/nets/w.safetensors"]
    with pytest.raises(ValueError, match=r"has no \.tflite file: attokit export attonet_d\.test"):
        hub.fetch_tflite("attonet_d.test")


def test_names_that_no_hub_can_have_ask_none(far):
    assert hub.find("attonet_d.fashion_mnist") is checkpoints.WEIGHTS["attonet_d.fashion_mnist"]
    assert hub.find("attonet_d") is None
    assert hub.find("runs/a.b") is None
    assert far.requests == []


def test_a_hub_in_a_folder(table, tmp_path, monkeypatch):
    file = table["attonet_d.test"].file
    (tmp_path / "m.tflite").write_bytes(b"12345")
    tflite = HubFile(source="m.tflite", sha256=describe_file(tmp_path / "m.tflite")[0], size=5)
    (tmp_path / INDEX).write_text(_release(table, tflite=tflite))
    for address in (str(tmp_path), tmp_path.as_uri()):
        monkeypatch.setenv("ATTOKIT_HUB", address)
        assert hub.info("attonet_d.test").file == file
        assert hub.fetch("attonet_d.test") == tmp_path / "w.safetensors"
        assert hub.fetch_tflite("attonet_d.test") == tmp_path / "m.tflite"
    monkeypatch.setenv("ATTOKIT_HUB", str(tmp_path / "no"))
    with pytest.raises(ValueError, match=r"cannot read .*: No such .* that attokit publish wrote"):
        hub.names()


def test_works_offline_once_it_is_here(far, monkeypatch):
    monkeypatch.setenv("ATTOKIT_OFFLINE", "1")
    with pytest.raises(ValueError, match="is not in the cache, and ATTOKIT_OFFLINE is set"):
        hub.load("attonet_d.test")
    monkeypatch.delenv("ATTOKIT_OFFLINE")
    hub.load("attonet_d.test")
    count = len(far.requests)
    monkeypatch.setenv("ATTOKIT_OFFLINE", "1")
    assert hub.load("attonet_d.test")["params"]["w"].tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"did you mean attonet_d\.test"):
        hub.info("attonet_d.tset")
    assert len(far.requests) == count


def test_what_was_published_just_now_is_found(far, table):
    new = far.files[f"/nets/{INDEX}"]
    far.files[f"/nets/{INDEX}"] = index_text({}).encode()
    address = f"{far.url}/nets"
    assert hub.read_hub(address) == {}
    far.files[f"/nets/{INDEX}"] = new
    assert hub.read_hub(address) == {}  # it was asked within the minute
    _grow_old(10)
    assert hub.find("attonet_d.test") is not None
    _grow_old(100)
    far.files[f"/nets/{INDEX}"] = index_text({}).encode()
    assert hub.read_hub(address) == {}


def _grow_old(seconds):
    (kept,) = (checkpoints.cache_folder() / "indexes").iterdir()
    os.utime(kept, (kept.stat().st_mtime - seconds,) * 2)


def test_goes_on_with_what_it_listed_before(far, caplog):
    address = f"{far.url}/nets"
    listed = hub.read_hub(address, patience=HASTE)
    _grow_old(100)
    far.misbehaviours[f"/nets/{INDEX}"] = [("status", 503)]
    assert hub.read_hub(address, patience=HASTE) == listed
    assert "going on with what it listed before" in caplog.text
    assert hub.read_hub(address, patience=HASTE) == listed  # and does not ask at once again
    assert len(far.requests) == 2
    (kept,) = (checkpoints.cache_folder() / "indexes").iterdir()
    kept.write_text("damaged")
    assert hub.read_hub(address, patience=HASTE) == listed
    assert len(far.requests) == 3


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "answers 404"),
        (b"<html>", "is damaged"),
        (b'{"format": "attokit-hub", "version": 9, "weights": {}}', "install a newer one"),
    ],
)
def test_what_is_no_hub_is_not_kept(far, content, text):
    far.files.pop(f"/nets/{INDEX}")
    if content is not None:
        far.files[f"/nets/{INDEX}"] = content
    for _ in range(2):
        with pytest.raises(ValueError, match=text):
            hub.names()
    assert not list(checkpoints.cache_folder().rglob("*.json"))


def test_this_versions_names_are_its_own(far, table):
    content = json.loads(_release(table))
    content["weights"]["attonet_d.fashion_mnist"] = content["weights"]["attonet_d.test"]
    far.files[f"/nets/{INDEX}"] = json.dumps(content).encode()
    assert hub.info("attonet_d.fashion_mnist").source.startswith("package:")
    assert hub.available()["attonet_d.fashion_mnist"].source.startswith("package:")
    assert hub.hidden() == ("attonet_d.fashion_mnist",)


def test_a_hub_without_a_cache_that_can_be_written(far, monkeypatch, tmp_path):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("ATTOKIT_CACHE", str(tmp_path / "taken"))
    assert "attonet_d.test" in hub.names()
    with pytest.raises(ValueError, match="set ATTOKIT_CACHE to a folder"):
        hub.load("attonet_d.test")
