import pathlib

import pytest

from attokit.checkpoints.address import check_relative, folder_address, local_path, public_url


@pytest.fixture(autouse=True)
def _usual_endpoints(monkeypatch):
    for name in ("HF_ENDPOINT", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://example.org/a/w", "https://example.org/a/w"),
        ("http://example.org:81/a%20w ü?x=1", "http://example.org:81/a%20w%20%C3%BC?x=1"),
        ("gs://bucket/a b/w", "https://storage.googleapis.com/bucket/a%20b/w"),
        ("hf://me/nets/a/w", "https://huggingface.co/me/nets/resolve/main/a/w"),
        ("hf://me/nets@v1/w", "https://huggingface.co/me/nets/resolve/v1/w"),
        ("hf://me/nets@refs/w", "https://huggingface.co/me/nets/resolve/refs/w"),
        ("hf://datasets/me/d/w", "https://huggingface.co/datasets/me/d/resolve/main/w"),
    ],
)
def test_public_addresses(source, url):
    assert local_path(source) is None
    assert public_url(source) == url


def test_mirrors(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert public_url("hf://me/nets/w") == "https://mirror.example/me/nets/resolve/main/w"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:9000")
    assert public_url("gs://bucket/w") == "http://localhost:9000/bucket/w"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("gs://bucket", "write gs://BUCKET/OBJECT"),
        ("hf://me/nets", "write hf://OWNER/REPOSITORY/PATH"),
        ("hf://datasets/me/nets", "write hf://OWNER/REPOSITORY/PATH"),
        ("hf://me//w", "write hf://OWNER/REPOSITORY/PATH"),
        ("https:///w", "it needs a host"),
        ("https://me:secret@example.org/w", "takes no user or password"),
    ],
)
def test_malformed_addresses(source, text):
    with pytest.raises(ValueError, match=text):
        public_url(source)


def test_local_addresses(tmp_path):
    path = tmp_path / "a b"
    assert local_path(path.as_uri()) == path
    assert local_path("package:w").parts[-2:] == ("assets", "w")
    with pytest.raises(ValueError, match="may leave its folder"):
        local_path("package:../hub.py")
    with pytest.raises(ValueError, match="names a host"):
        local_path("file://etc/passwd")
    for source in ("ftp://example.org/w", "w.safetensors", "C:/w"):
        with pytest.raises(ValueError, match="which cannot be fetched"):
            local_path(source)


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_address("a b") == (pathlib.Path.cwd() / "a b").as_uri()
    assert folder_address("https://example.org/hub/") == "https://example.org/hub"
    assert folder_address("hf://me/nets") == "hf://me/nets"
    for text in ("ftp://example.org", "https://example.org/hub?x=1", "https://example.org/#x"):
        with pytest.raises(ValueError, match="is no address of a folder"):
            folder_address(text)


@pytest.mark.parametrize(
    "path",
    ["", "/w", "../w", "a/../../w", "a//w", "a/.", ".w", "a\\w", "C:w", "a%2e", "http://x/w", "w\n",
     "a\0", "~/w", "-w", "w?x", "w#x", "ü"],
)  # fmt: skip
def test_paths_that_may_lead_elsewhere(path):
    with pytest.raises(ValueError, match="may leave its folder"):
        check_relative(path)


def test_paths_that_stay():
    assert (
        check_relative("attonet_d.v-1/weights.safetensors") == "attonet_d.v-1/weights.safetensors"
    )
