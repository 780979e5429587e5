import http.client
import io
import random
import time
import urllib.request

import pytest

from attokit.checkpoints.transfer import (
    Patience,
    UnreachableError,
    _Redirects,
    download,
    read,
)

HASTE = Patience(timeout_s=0.3, tries=3, first_wait_s=0.001)
CONTENT = random.Random(0).randbytes(200_000)
NAME = "/w.safetensors"


def _download(server, path, *misbehaviours, progress=None, url=None):
    server.files[NAME] = CONTENT
    server.misbehaviours[NAME] = list(misbehaviours)
    download(url or server.url + NAME, path, len(CONTENT), patience=HASTE, progress=progress)
    assert path.read_bytes() == CONTENT
    return [asked for _, asked in server.requests]


def test_whole_file_with_progress(server, tmp_path):
    told = []
    assert _download(server, tmp_path / "w", progress=lambda *n: told.append(n)) == [None]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [n for n, _ in told] == sorted(n for n, _ in told)


@pytest.mark.parametrize(
    ("misbehaviours", "asked"),
    [
        ([("stop", 70_000)], [None, "bytes=70000-"]),
        ([("stop", 70_000), ("stop", 70_000)], [None, "bytes=70000-", "bytes=140000-"]),
        ([("stop", 70_000), ("no_range",)], [None, "bytes=70000-"]),
        ([("stop", 70_000), ("wrong_range",)], [None, "bytes=70000-", None]),
        ([("stop", 70_000), ("status", 416)], [None, "bytes=70000-", None]),
        ([("stop", 0)], [None, None]),
        ([("status", 500), ("status", 503)], [None, None, None]),
        ([("status", 429, 0)], [None, None]),
        ([("reset",), ("garbage",)], [None, None, None]),
        ([("stall", 0.6)], [None, f"bytes={len(CONTENT) // 2}-"]),
        ([("slow", 0.02)], [None]),
        # Each brings a twentieth or more, so the three tries begin anew.
        ([("stop", 30_000)] * 6, [None, *(f"bytes={n}0000-" for n in (3, 6, 9, 12, 15, 18))]),
    ],
)
def test_goes_on_after_failures(server, tmp_path, misbehaviours, asked):
    assert _download(server, tmp_path / "w", *misbehaviours) == asked


def test_goes_on_from_what_is_there(server, tmp_path):
    (tmp_path / "w").write_bytes(CONTENT[:1234])
    assert _download(server, tmp_path / "w") == ["bytes=1234-"]
    assert _download(server, tmp_path / "w") == ["bytes=1234-"]  # whole: nothing is asked
    (tmp_path / "w").write_bytes(CONTENT + b"and more")
    assert _download(server, tmp_path / "w")[1:] == [None]


def test_follows_redirects_with_the_range(server, tmp_path):
    (tmp_path / "w").write_bytes(CONTENT[:5])
    server.misbehaviours["/old"] = [("redirect", "/older"), None]
    server.misbehaviours["/older"] = [("redirect", server.url + NAME)]
    _download(server, tmp_path / "w", url=server.url + "/old")
    assert server.requests == [("/old", "bytes=5-"), ("/older", "bytes=5-"), (NAME, "bytes=5-")]


@pytest.mark.parametrize(
    ("misbehaviours", "text", "requests"),
    [
        ([("status", 404)], "the server answers 404 Not Found; check the address", 1),
        ([("status", 403)], "the server answers 403 Forbidden", 1),
        ([("status", 416)], "the server answers 416", 1),
        ([("status", 500)] * 9, "answers 500 Internal Server Error, 3 times in a row; 0 of 200,0", 3),
        ([("reset",)] * 9, "3 times in a row", 3),
        ([("stop", 9)] * 9, "stopped after 27 of 200,000 bytes, 3 times in a row; 27 of", 3),
        ([("stall", 0.6)] + [("stop", 0)] * 9, "3 times in a row; 100,000 of 200,000 bytes are kept", 3),
        ([("length", 5)], "has 200,005 bytes where 200,000 belong to its name", 1),
        ([("length", -5)], "has 199,995 bytes where 200,000 belong to its name", 1),
        ([("more", 5)], "has more than the 200,000 bytes", 1),
        ([("redirect", NAME)] * 20, "infinite loop", 5),
        ([("redirect", "file:///etc/passwd")], "is not allowed", 1),
        ([("redirect", "ftp://127.0.0.1/w")], "which is not safe to follow", 1),
    ],
)  # fmt: skip
def test_gives_up_clearly(server, tmp_path, misbehaviours, text, requests):
    with pytest.raises(ValueError, match=text):
        _download(server, tmp_path / "w", *misbehaviours)
    assert len(server.requests) == requests


def test_waits_as_long_as_it_is_asked_and_says_so(server, tmp_path, caplog):
    caplog.set_level("INFO", "attokit")
    begin = time.monotonic()
    _download(server, tmp_path / "w", ("status", 503, 1))
    assert 1 <= time.monotonic() - begin < 10
    assert "answers 503 Service Unavailable; the next try is in 1 s" in caplog.text


def test_encrypted_addresses_do_not_lead_to_others():
    asked = urllib.request.Request("https://example.org/w", headers={"Range": "bytes=5-"})
    rest = (io.BytesIO(), 302, "Found", http.client.HTTPMessage())
    followed = _Redirects().redirect_request(asked, *rest, "https://example.org/v")
    assert followed.get_header("Range") == "bytes=5-"
    with pytest.raises(ValueError, match=r"leads to http://example\.org/v, which is not safe"):
        _Redirects().redirect_request(asked, *rest, "http://example.org/v")


def test_nobody_is_there(tmp_path):
    with pytest.raises(UnreachableError, match="3 times in a row"):
        download("http://127.0.0.1:9/w", tmp_path / "w", 5, patience=HASTE)
    with pytest.raises(UnreachableError, match="3 times in a row"):
        read("http://127.0.0.1:9/w", limit=5, patience=HASTE)


def test_small_files(server):
    server.files["/index.json"] = b"12345"
    url = server.url + "/index.json"
    assert read(url, limit=5, patience=HASTE) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read(url, limit=4, patience=HASTE)
    server.misbehaviours["/index.json"] = [("stop", 2), ("status", 502)]
    assert read(url, limit=9, patience=HASTE) == b"12345"
    with pytest.raises(ValueError, match="answers 404"):
        read(server.url + "/none", limit=9, patience=HASTE)
    server.misbehaviours["/index.json"] = [("stop", 2)] * 3
    with pytest.raises(UnreachableError, match="3 times in a row"):
        read(url, limit=9, patience=HASTE)


def test_what_is_no_address(tmp_path):
    with pytest.raises(ValueError, match="is no address"):
        read("http://127.0.0.1:x/w", limit=5, patience=HASTE)
