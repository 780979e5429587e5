import pytest
from hub_server import hub_server


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server that misbehaves as told; nothing else is asked, and the cache is a fresh one."""
    for name in ("http_proxy", "HTTP_PROXY", "ATTOKIT_OFFLINE", "ATTOKIT_HUB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATTOKIT_CACHE", str(tmp_path / "cache"))
    with hub_server() as server:
        yield server
