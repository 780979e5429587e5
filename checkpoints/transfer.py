"""Files over HTTP, from servers that fail: a transfer goes on where it stopped, or says why not.

Only the standard library. What arrives is not trusted here: `cache` holds it to its hash.
"""

import dataclasses
import email.message
import http.client
import logging
import pathlib
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import IO

from attokit import __version__

# Told (bytes that are here, bytes of the whole file) now and then.
Progress = Callable[[int, int], None]

_CHUNK = 1 << 18
# Answers that may be another in a moment; all others below 600 stay what they are.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE_REFUSED = 416
_LONGEST_WAIT_S = 60.0
# As much new data as this part of a file, and the failures are counted from the start again.
_PARTS = 20
_LOG = logging.getLogger(__name__)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for.

    Attributes:
      timeout_s: Without one byte, before the connection is given up.
      tries: Failures in a row, before the transfer is given up.
      first_wait_s: Before the second try; twice as long before each further one.
    """

    timeout_s: float = 30.0
    tries: int = 5
    first_wait_s: float = 1.0


class _PassingError(Exception):
    """Something that another try may mend.

    Attributes:
      wait_s: What the server asks for, or None.
    """

    def __init__(self, text: str, wait_s: float | None = None):
        super().__init__(text)
        self.wait_s = wait_s


class UnreachableError(ValueError):
    """A server that could not be reached or did not serve, in as many tries as there were."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from an encrypted address to one that is not."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Returns the next request."""
        scheme = newurl.partition(":")[0].lower()
        if scheme != "https" and (scheme != "http" or req.full_url.startswith("https:")):
            fp.close()
            raise ValueError(f"{req.full_url} leads to {newurl}, which is not safe to follow")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    path: pathlib.Path,
    size: int,
    *,
    patience: Patience,
    progress: Progress | None = None,
) -> None:
    """Completes a file of `size` bytes, of which `path` may hold a beginning.

    Args:
      url: An http or https address.
      path: What has arrived is here, also when this raises, so that the next call goes on.
      size: Of the whole file.
      patience: When to give up.
      progress: Told how much there is.

    Raises:
      UnreachableError: if the server fails too often.
      ValueError: if it has no such file, or one of another size.
      OSError: if `path` cannot be written.
    """
    failures, mark = 0, _size(path)
    while True:
        try:
            return _attempt(url, path, size, patience, progress)
        except _PassingError as err:
            have = _size(path)
            advanced = have - mark >= max(1, size // _PARTS)
            failures, mark = (1, have) if advanced else (failures + 1, mark)
            if failures >= patience.tries:
                raise UnreachableError(
                    f"cannot download {url}: {err}{_again(failures)}; {have:,} of {size:,} bytes are "
                    "kept, and the next try goes on from there"
                ) from err
            _pause(url, err, failures, patience)


def read(url: str, *, limit: int, patience: Patience) -> bytes:
    """Returns a small file.

    Raises:
      UnreachableError: if the server fails too often.
      ValueError: if it has no such file, or one above `limit` bytes.
    """
    failures = 0
    while True:
        try:
            return _read(url, limit, patience)
        except _PassingError as err:
            failures += 1
            if failures >= patience.tries:
                raise UnreachableError(
                    f"cannot read {url}: {err}{_again(failures)}; check the address and the "
                    "connection"
                ) from err
            _pause(url, err, failures, patience)


def _again(failures: int) -> str:
    return f", {failures} times in a row" if failures > 1 else ""


def _pause(url: str, error: _PassingError, failures: int, patience: Patience) -> None:
    """Waits before the next try."""
    own = patience.first_wait_s * 2 ** (failures - 1)
    seconds = min(max(own, error.wait_s or 0.0), _LONGEST_WAIT_S)
    _LOG.info("%s: %s; the next try is in %g s", url, error, seconds)
    time.sleep(seconds)


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(url: str, limit: int, patience: Patience) -> bytes:
    with _open(url, patience) as response:
        try:
            content: bytes = response.read(limit + 1)
        except (OSError, http.client.HTTPException) as err:
            raise _PassingError(_reason(err)) from err
    if len(content) > limit:
        raise ValueError(f"{url} has more than {limit:,} bytes: that is not what belongs there")
    told = response.headers.get("Content-Length")
    if told is not None and told.isdecimal() and int(told) != len(content):
        raise _PassingError(f"the server stopped after {len(content):,} of {told} bytes")
    return content


def _attempt(
    url: str, path: pathlib.Path, size: int, patience: Patience, progress: Progress | None
) -> None:
    """Gets what is missing in one request."""
    start = _size(path)
    if start > size:
        path.unlink()
        start = 0
    if start == size:
        return
    with _open(url, patience, start) as response, path.open("ab") as file:
        have, total = _place(response)
        if total is not None and total != size:
            raise ValueError(
                f"{url} has {total:,} bytes where {size:,} belong to its name: it was altered or is "
                "another file; tell whoever keeps it"
            )
        if have not in (0, start):
            file.truncate(0)
            raise _PassingError(f"the server sends bytes from {have} where {start} were here")
        file.truncate(have)  # 0 where the server sends all of it again
        while chunk := _chunk(response):
            have += len(chunk)
            if have > size:
                file.truncate(0)
                raise ValueError(f"{url} has more than the {size:,} bytes that belong to its name")
            file.write(chunk)
            if progress is not None:
                progress(have, size)
    if have < size:
        raise _PassingError(f"the server stopped after {have:,} of {size:,} bytes")


def _chunk(response: http.client.HTTPResponse) -> bytes:
    """Returns what there is to read, as soon as there is something."""
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as err:
        raise _PassingError(_reason(err)) from err


def _place(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Returns where in the file the answer begins, and the file's size if the server says it."""
    begin, total = 0, response.headers.get("Content-Length", "")
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None:
            raise _PassingError("the server sends a part of the file and does not say which")
        begin, total = int(found[1]), found[2]
    return begin, int(total) if total.isdecimal() else None


def _open(url: str, patience: Patience, start: int = 0) -> http.client.HTTPResponse:
    """Returns the answer of the server to a request for a file from byte `start`."""
    request = urllib.request.Request(url, headers=_headers(start))
    opener = urllib.request.build_opener(_Redirects)
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=patience.timeout_s)
        return answer
    except urllib.error.HTTPError as err:
        err.close()
        text = f"the server answers {err.code} {err.reason}"
        if err.code in _PASSING:
            raise _PassingError(text, _asked_wait(err.headers)) from err
        if err.code == _RANGE_REFUSED and start:
            return _open(url, patience)  # all of it, then
        raise ValueError(
            f"cannot read {url}: {text}; check the address, and that the file is public"
        ) from err
    except urllib.error.URLError as err:
        if isinstance(err.reason, ssl.SSLCertVerificationError):
            raise ValueError(
                f"cannot read {url}: {err.reason.verify_message}; install the certificates of "
                "your system, or those of the proxy between (SSL_CERT_FILE)"
            ) from err
        raise _PassingError(_reason(err.reason)) from err
    except http.client.InvalidURL as err:
        raise ValueError(f"{url!r} is no address: {err}; check it") from err
    except (OSError, http.client.HTTPException) as err:
        raise _PassingError(_reason(err)) from err


def _headers(start: int) -> dict[str, str]:
    own = {"User-Agent": f"attokit/{__version__}", "Accept-Encoding": "identity"}
    return own | ({"Range": f"bytes={start}-"} if start else {})


def _asked_wait(headers: email.message.Message) -> float | None:
    """Returns the seconds that a server asks to wait for; a date says nothing here."""
    text = headers.get("Retry-After", "").strip()
    return float(text) if text.isdecimal() else None


def _reason(error: BaseException | str) -> str:
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
