"""A server of files that misbehaves as told, and a way to run the hub's downloads in processes."""

import contextlib
import http.server
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import unquote

ROOT = pathlib.Path(__file__).resolve().parents[1]


class HubServer(http.server.ThreadingHTTPServer):
    """Serves files by path. A path may have a list of misbehaviours, one for each request to it.

    None                 as it should be, with ranges
    ("status", 503)      that answer, without a file; a third item is Retry-After
    ("stop", n)          n bytes of what was announced, then the connection ends
    ("reset",)           the connection ends without an answer
    ("garbage",)         an answer that is not HTTP
    ("no_range",)        the whole file whatever was asked
    ("wrong_range",)     a part from 1 on where another was asked
    ("length", n)        says that the file has n bytes more than it has
    ("more", n)          n bytes more than there are, without saying how many
    ("alter",)           one bit is another
    ("stall", s)         nothing for s seconds after the first half
    ("slow", s)          s seconds before every part of a tenth
    ("redirect", url)    is elsewhere
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.misbehaviours: dict[str, list] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.guard = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(self.path)
        with self.server.guard:
            self.server.requests.append((path, self.headers.get("Range")))
            queue = self.server.misbehaviours.get(path, [])
            kind, *values = (queue.pop(0) if queue else None) or ("fine",)
        if kind == "reset":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "garbage":
            self.wfile.write(b"220 this is another protocol\r\n\r\n")
        elif kind == "status":
            self._answer(values[0], {"Retry-After": str(values[1])} if len(values) > 1 else {})
        elif kind == "redirect":
            self._answer(302, {"Location": values[0]})
        elif path not in self.server.files:
            self._answer(404, {})
        else:
            self._send_file(self.server.files[path], kind, values)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, content: bytes, kind: str, values: list) -> None:
        asked = self.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        begin = {"no_range": 0, "wrong_range": 1}.get(kind, begin)
        part = asked is not None and kind != "no_range"
        if part and begin >= len(content):
            return self._answer(416, {})
        body = content[begin:]
        if kind == "alter":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if part else 200)
        more = values[0] if kind == "length" else 0
        if part:
            total = len(content) + more
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        if kind == "more":
            body += bytes(values[0])
        else:
            self.send_header("Content-Length", str(len(body) + more))
        self.end_headers()
        if kind == "stop":
            self.wfile.write(body[: values[0]])
        elif kind == "stall":
            self.wfile.write(body[: len(body) // 2])
            time.sleep(values[0])
        elif kind == "slow":
            step = max(1, len(content) // 10)
            for place in range(0, len(body), step):
                time.sleep(values[0])
                self.wfile.write(body[place : place + step])
        else:
            self.wfile.write(body)


@contextlib.contextmanager
def hub_server() -> Iterator[HubServer]:
    """A server on a free port, until the end of the block."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def start_download(source: str, sha256: str, size: int, *, file_limit: int | None = None):
    """Starts a process that downloads into `ATTOKIT_CACHE` and prints the path, or the error.

    It imports the modules of downloads alone, without JAX, to be quick.
    """
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({file_limit},) * 2)"
    code = f"""
import sys, types
package = types.ModuleType("attokit.checkpoints")
package.__path__ = [{str(ROOT / "checkpoints")!r}]
sys.modules["attokit.checkpoints"] = package
{limit if file_limit is not None else ""}
from attokit.checkpoints.cache import obtain
from attokit.checkpoints.record import HubFile
from attokit.checkpoints.transfer import Patience
assert "jax" not in sys.modules
try:
    print(obtain("w.safetensors", HubFile(source={source!r}, sha256={sha256!r}, size={size}),
                 patience=Patience(timeout_s=5, tries=2, first_wait_s=0)))
except ValueError as err:
    print("refused:", err)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
