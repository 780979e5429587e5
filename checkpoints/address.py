"""Where files are: the addresses that the hub takes, and what they mean."""

import importlib.resources
import os
import pathlib
import re
import urllib.parse
import urllib.request

# Environment variables that Hugging Face's and Google's own clients obey: mirrors and emulators.
_HUGGING_FACE = ("HF_ENDPOINT", "https://huggingface.co")
_GOOGLE = ("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com")
_KINDS = ("datasets", "spaces")  # of repositories there, besides models
_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
SCHEMES = ("https", "http", "gs", "hf", "file", "package")


def local_path(source: str) -> pathlib.Path | None:
    """Returns the path of `file://` and `package:` sources, or None for what is far away.

    Raises:
      ValueError: if the source is no address that can be fetched.
    """
    parts = urllib.parse.urlsplit(source)
    if parts.scheme == "package":
        assets = importlib.resources.files("attokit.checkpoints") / "assets"
        return pathlib.Path(str(assets / check_relative(parts.path)))
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"{source!r} names a host: a file:// address has three slashes")
        return pathlib.Path(urllib.request.url2pathname(parts.path))
    if parts.scheme not in SCHEMES:
        raise ValueError(
            f"{source!r} has scheme {parts.scheme!r}, which cannot be fetched: use an address "
            "that begins with https://, http://, gs://, hf:// or file://"
        )
    return None


def public_url(source: str) -> str:
    """Returns the http(s) address of a source that is far away.

    `gs://BUCKET/OBJECT` and `hf://[datasets/]OWNER/REPOSITORY[@REVISION]/PATH` are public files.

    Raises:
      ValueError: if it is malformed.
    """
    parts = urllib.parse.urlsplit(source)
    if parts.scheme == "gs":
        return _google(source)
    if parts.scheme == "hf":
        return _hugging_face(source)
    if not parts.hostname or "@" in parts.netloc:
        raise ValueError(
            f"{source!r} is no address of a file: it needs a host, and takes no user or password"
        )
    return urllib.parse.quote(source, safe=":/?#[]@!$&'()*+,;=%~")


def _google(source: str) -> str:
    bucket, _, name = source.removeprefix("gs://").partition("/")
    if not bucket or not name:
        raise ValueError(f"{source!r} is no object: write gs://BUCKET/OBJECT")
    return f"{_endpoint(*_GOOGLE)}/{bucket}/{urllib.parse.quote(name)}"


def _hugging_face(source: str) -> str:
    path = source.removeprefix("hf://")
    kind = path.partition("/")[0]
    prefix = f"{kind}/" if kind in _KINDS else ""
    steps = path.removeprefix(prefix).split("/", 2)
    if len(steps) < 3 or not all(steps):
        raise ValueError(
            f"{source!r} is no file: write hf://OWNER/REPOSITORY/PATH, with @REVISION behind the "
            "repository if it is not main"
        )
    owner, repository, name = steps
    repository, _, revision = repository.partition("@")
    quoted = urllib.parse.quote(revision or "main", safe="")
    return (
        f"{_endpoint(*_HUGGING_FACE)}/{prefix}{owner}/{repository}/resolve/{quoted}/"
        f"{urllib.parse.quote(name)}"
    )


def _endpoint(variable: str, default: str) -> str:
    value = os.environ.get(variable) or default
    return (value if "://" in value else f"http://{value}").rstrip("/")


def folder_address(text: str) -> str:
    """Returns the address of a folder that a user names: one of `SCHEMES`, or a path.

    Raises:
      ValueError: if files in it cannot have addresses of their own.
    """
    if "://" not in text:
        return pathlib.Path(text).absolute().as_uri()
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in SCHEMES or parts.query or parts.fragment:
        raise ValueError(
            f"{text!r} is no address of a folder: write one such as https://HOST/FOLDER, "
            "hf://OWNER/REPOSITORY, gs://BUCKET/FOLDER or file:///FOLDER, without ? and #"
        )
    return text.rstrip("/")


def check_relative(path: str) -> str:
    """Returns a path inside a folder, as `FOLDER/FILE`, if it is that and stays there.

    Raises:
      ValueError: if it is absolute, climbs (`..`), or has characters that mean something else to some
        server or system.
    """
    if not path or not all(_STEP.fullmatch(step) for step in path.split("/")):
        raise ValueError(
            f"path {path!r} may leave its folder: only names of letters, digits and _.+- with / "
            "between them are taken, none of which begins with a dot"
        )
    return path
