import hashlib
import pathlib
import random
import time

import pytest
from hub_server import start_download

from attokit.checkpoints.cache import cache_folder, cached_path, describe_file, is_here, obtain
from attokit.checkpoints.record import HubFile
from attokit.checkpoints.transfer import Patience, UnreachableError

HASTE = Patience(timeout_s=2, tries=2, first_wait_s=0.001)
CONTENT = random.Random(1).randbytes(100_000)
FILE = "w.safetensors"


@pytest.fixture
def file(server):
    server.files["/w"] = CONTENT
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return HubFile(source=server.url + "/w", sha256=sha256, size=len(CONTENT))


def _obtain(file):
    return obtain(FILE, file, patience=HASTE)


def _kept():
    """What lies in the cache, without the locks."""
    folder = cache_folder()
    return sorted(
        path.relative_to(folder).parts[0]
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    )


def test_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTOKIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("ATTOKIT_CACHE", "~/mine")
    assert cache_folder() == pathlib.Path.home() / "mine"
    monkeypatch.setenv("ATTOKIT_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "attokit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == pathlib.Path.home() / ".cache" / "attokit"


def test_downloads_once(server, file):
    assert not is_here(FILE, file)
    path = _obtain(file)
    assert path == cached_path(FILE, file) == _obtain(file)
    assert path.read_bytes() == CONTENT
    assert describe_file(path) == (file.sha256, file.size)
    assert is_here(FILE, file)
    assert len(server.requests) == 1
    assert _kept() == ["files"]


def test_works_offline_once_it_is_here(server, file, monkeypatch):
    monkeypatch.setenv("ATTOKIT_OFFLINE", "1")
    with pytest.raises(ValueError, match="not in the cache, and ATTOKIT_OFFLINE is set: unset it"):
        _obtain(file)
    monkeypatch.setenv("ATTOKIT_OFFLINE", "0")
    path = _obtain(file)
    monkeypatch.setenv("ATTOKIT_OFFLINE", "yes")
    assert _obtain(file) == path
    path.write_bytes(b"x" * file.size)
    with pytest.raises(ValueError, match="is damaged, and ATTOKIT_OFFLINE is set"):
        _obtain(file)
    assert len(server.requests) == 1


def test_a_read_only_cache_serves_what_it_has(server, file):
    path = _obtain(file)
    for folder in (path.parent, cache_folder(), cache_folder() / "locks"):
        folder.chmod(0o500)
    try:
        assert _obtain(file) == path
    finally:
        for folder in (path.parent, cache_folder(), cache_folder() / "locks"):
            folder.chmod(0o700)


def test_a_damaged_file_is_downloaded_again(server, file):
    path = _obtain(file)
    path.write_bytes(CONTENT[:-1])
    assert not is_here(FILE, file)
    assert _obtain(file).read_bytes() == CONTENT
    path.write_bytes(bytes(len(CONTENT)))
    assert _obtain(file).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_altered_files_are_refused(server, file):
    server.misbehaviours["/w"] = [("alter",)]
    with pytest.raises(
        ValueError, match=r"is not the file of w\.safetensors: it has sha256 .* alt"
    ):
        _obtain(file)
    assert _kept() == []
    assert len(server.requests) == 1


def test_a_beginning_of_another_file_is_not_built_on(server, file):
    partial = cache_folder() / "partial" / file.sha256
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"something else")
    assert _obtain(file).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=14-", None]
    # The server alters the rest, and then all of it.
    cached_path(FILE, file).unlink()
    partial.write_bytes(CONTENT[:14])
    server.misbehaviours["/w"] = [("alter",), ("alter",)]
    with pytest.raises(ValueError, match="it was altered, and is not kept"):
        _obtain(file)
    assert _kept() == []


def test_a_stopped_download_goes_on(server, file):
    server.misbehaviours["/w"] = [("stop", 3000), ("stop", 0)]
    with pytest.raises(UnreachableError, match="3,000 of 100,000 bytes are kept"):
        _obtain(file)
    assert _kept() == ["partial"]
    assert _obtain(file).read_bytes() == CONTENT
    assert server.requests[-1] == ("/w", "bytes=3000-")
    assert _kept() == ["files"]


def test_a_killed_download_goes_on(server, file):
    server.misbehaviours["/w"] = [("slow", 0.2)]
    process = start_download(file.source, file.sha256, file.size)
    partial = cache_folder() / "partial" / file.sha256
    deadline = time.monotonic() + 30
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    have = partial.stat().st_size
    assert 0 < have < len(CONTENT)
    assert _kept() == ["partial"]
    assert _obtain(file).read_bytes() == CONTENT
    assert server.requests[-1] == ("/w", f"bytes={have}-")


def test_many_processes_download_once(server, file):
    server.misbehaviours["/w"] = [("slow", 0.02)]
    processes = [start_download(file.source, file.sha256, file.size) for _ in range(3)]
    printed = [process.communicate(timeout=60) for process in processes]
    assert printed == [(f"{cached_path(FILE, file)}\n", "")] * 3
    assert cached_path(FILE, file).read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert _kept() == ["files"]


def test_without_locks_each_downloads_its_own(server, file, monkeypatch):
    import attokit.checkpoints.file_lock as file_lock

    monkeypatch.setattr(file_lock, "fcntl", None)
    assert _obtain(file).read_bytes() == CONTENT
    assert _kept() == ["files"]


def test_a_full_disk(server, file):
    process = start_download(file.source, file.sha256, file.size, file_limit=50_000)
    out, err = process.communicate(timeout=60)
    assert out.startswith("refused: cannot keep w.safetensors (100,000 bytes) in the cache ")
    assert "File too large; make room there, or set ATTOKIT_CACHE to a folder that you may" in out
    assert err == ""
    assert _kept() == []


def test_no_room_is_said_before_the_download(server, file):
    vast = HubFile(source=file.source, sha256=file.sha256, size=1 << 60)
    with pytest.raises(
        ValueError, match=r"No space left|are free; make room there, or set ATTOKIT_CACHE"
    ):
        _obtain(vast)
    assert server.requests == []


def test_a_cache_that_cannot_be(server, file, monkeypatch, tmp_path):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("ATTOKIT_CACHE", str(tmp_path / "taken"))
    with pytest.raises(ValueError, match="Not a directory; set ATTOKIT_CACHE to a folder"):
        _obtain(file)


def test_files_that_are_here_are_checked_where_they_are(server, tmp_path):
    path = tmp_path / "w"
    path.write_bytes(CONTENT)
    sha256, size = describe_file(path)
    file = HubFile(source=path.as_uri(), sha256=sha256, size=size)
    assert _obtain(file) == path
    assert is_here(FILE, file)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"is not the file of w\.safetensors: 99999 bytes"):
        _obtain(file)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot read w\.safetensors at .*: No such file"):
        _obtain(file)
    assert not cache_folder().exists()


@pytest.mark.parametrize(("variable", "source", "path"), [
    ("HF_ENDPOINT", "hf://me/nets@v1/a/w", "/me/nets/resolve/v1/a/w"),
    ("STORAGE_EMULATOR_HOST", "gs://bucket/a/w", "/bucket/a/w"),
])  # fmt: skip
def test_other_schemes_end_at_a_server(server, file, monkeypatch, variable, source, path):
    monkeypatch.setenv(variable, server.url)
    server.files[path] = CONTENT
    assert _obtain(HubFile(source=source, sha256=file.sha256, size=file.size)).is_file()
    assert server.requests == [(path, None)]
