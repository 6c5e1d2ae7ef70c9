"""A stand-in for Ollama with real HTTP and faults on demand, for the demo, the tests and trying out a mesh.

The faults are in faults.py. Both modules use the standard library only, so that they run on any host.
"""

import contextlib
import hashlib
import json
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gpu_mesh.standin import pulls
from gpu_mesh.standin.faults import FAULTS

VERSION = "0.12.6"
KEEP_ALIVE = 300.0  # seconds for which a model stays loaded after a request, as Ollama's default
FOREVER = 9_000_000_000.0  # seconds; what Ollama writes for keep_alive -1 is a time in the 24th century
SIZE = 2_019_393_189  # bytes
CONTEXT = 4096
PAUSE = 0.1  # seconds between two pieces of a streamed text

Json = dict[str, object]


class Standin:
    """One stand-in; use it in a ``with`` statement, or call ``serve``.

    Args:
        host: address to listen on.
        port: 0: a free one.
        models: names for /api/tags.
        loaded: names for /api/ps, for ever.
        fault: a key of FAULTS, with ``:seconds`` if wanted; may be set again at any time.
        control: whether ``PUT /standin/fault`` from loopback sets the fault.
        tls: a server's context; None: plain HTTP.
        prefix: the path below which it answers, as behind a proxy; "": none.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        models: Sequence[str] = ("llama3.2:latest",),
        loaded: Sequence[str] = (),
        fault: str = "none",
        control: bool = False,
        tls: ssl.SSLContext | None = None,
        prefix: str = "",
    ) -> None:
        self.models = tuple(models)
        self.expiry = dict.fromkeys(loaded, time.time() + FOREVER)  # Unix seconds by loaded model
        self.fault = fault
        self.control = control
        self.prefix = prefix
        self.version = VERSION
        self.registry: dict[str, int] = {}  # bytes of the models that can be pulled
        self.pulled: list[str] = []
        self.pull_pause = 0.06  # seconds between two lines of a pull's progress, as Ollama's
        self.closing = threading.Event()
        self.connections = 0  # accepted so far
        self.paths: deque[str] = deque(maxlen=1000)  # the newest that were asked for
        self.headers: dict[str, str] = {}  # of the newest request
        self.generated: deque[Json] = deque(maxlen=1000)  # the newest requests for text
        self._server = _Server(host, port, self)
        if tls is not None:
            # The handshake is left to the connection's own thread.
            listening = self._server.socket
            self._server.socket = tls.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
        scheme = "http" if tls is None else "https"
        self.port: int = self._server.server_address[1]
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{prefix}"

    @property
    def fault(self) -> str:
        """The fault as it was set."""
        return self._fault

    @fault.setter
    def fault(self, value: str) -> None:
        name, _, seconds = value.partition(":")
        if name not in FAULTS:
            raise ValueError(f"no fault is called {name!r}; there are: {', '.join(FAULTS)}")
        self.seconds = float(seconds or "inf")
        self.fault_since = time.time()
        self._fault = value

    def __enter__(self) -> "Standin":
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def serve(self) -> None:
        """Answer until ``close`` is called."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> None:
        """Wait that long, or until the fault changes or the stand-in is closed."""
        fault, until = self.fault, time.monotonic() + seconds
        while self.fault == fault and time.monotonic() < until:
            if self.closing.wait(min(0.1, max(until - time.monotonic(), 0.0))):
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, host: str, port: int, standin: Standin) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.standin = standin
        super().__init__((host, port), Exchange)

    def server_bind(self) -> None:
        # As Ollama does: so a restart need not wait until the kernel has forgotten the old connections.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        socket.socket.bind(self.socket, self.server_address)  # without the name lookup of HTTPServer
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: with these faults, connections end in every way."""


class Exchange(BaseHTTPRequestHandler):
    """One connection. The names of its methods are those of http.server."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        """Prepare a connection."""
        super().setup()
        self.standin = self.server.standin
        self.standin.connections += 1
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        """Answer as the fault says."""
        self.standin.paths.append(self.path)
        prefix = self.standin.prefix
        if prefix and not self.path.startswith(f"{prefix}/"):
            self.send_text(404, "404 page not found")
            return
        self.path = self.path.removeprefix(prefix)
        self.standin.headers = dict(self.headers)
        FAULTS[self.standin.fault.partition(":")[0]](self)

    do_POST = do_HEAD = do_GET  # noqa: N815 - http.server's names

    def do_PUT(self) -> None:
        """Set the fault."""
        if self.path != "/standin/fault" or not self.standin.control or not self._from_loopback():
            self.send_text(404, "404 page not found")
            return
        try:
            self.standin.fault = self.body().decode(errors="replace").strip()
            self.send_text(200, f"fault: {self.standin.fault}\n")
        except ValueError as error:
            self.send_text(400, f"{error}\n")

    def _from_loopback(self) -> bool:
        return self.client_address[0] in ("127.0.0.1", "::1", "::ffff:127.0.0.1")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """A stand-in keeps no log."""

    def body(self) -> bytes:
        """Read the request's body."""
        return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 2**20))

    def send(self, status: int, content: bytes, kind: str, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_text(self, status: int, text: str) -> None:
        """Send plain text."""
        self.send(status, text.encode(), "text/plain; charset=utf-8")

    def send_json(self, status: int, value: Json) -> None:
        """Send JSON."""
        self.send(status, json.dumps(value).encode(), "application/json; charset=utf-8")

    def raw(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.wfile.write(content)

    def drop(self) -> None:
        """Close the connection without sending more."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, **changes: float | bool) -> None:
        """Answer as Ollama does.

        Args:
            changes: ``on_gpu`` (part of a loaded model), ``expired`` (seconds ago), ``empty`` (no models).
        """
        standin = self.standin
        routes: dict[tuple[str, str], Callable[[], None]] = {
            ("GET", "/"): lambda: self.send_text(200, "Ollama is running"),
            ("GET", "/api/version"): lambda: self.send_json(200, {"version": standin.version}),
            ("GET", "/api/tags"): lambda: self.send_json(
                200, {"models": [] if changes.get("empty") else [_tag(name) for name in standin.models]}
            ),
            ("GET", "/api/ps"): lambda: self.send_json(200, {"models": list(_running(standin, **changes))}),
            ("POST", "/api/generate"): self.generate,
            ("POST", "/api/pull"): lambda: pulls.pull(self),
        }
        if self.path.startswith("/v2/"):
            pulls.manifest(self)
            return
        route = routes.get(("GET" if self.command == "HEAD" else self.command, self.path))
        if route is None:
            self.send_text(404, "404 page not found")
        else:
            route()

    def generate(self) -> None:
        """Answer a request for text: the model is loaded if it is not, and stays loaded for KEEP_ALIVE."""
        try:
            asked = json.loads(self.body())
            model, prompt = str(asked["model"]), str(asked.get("prompt") or "")
            self.standin.generated.append(asked)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.send_json(400, {"error": "missing request body"})
            return
        if model not in self.standin.models:
            self.send_json(404, {"error": f"model '{model}' not found"})
            return
        until = time.time() + KEEP_ALIVE
        self.standin.expiry[model] = max(self.standin.expiry.get(model, 0.0), until)
        if prompt and asked.get("stream") is True:
            self._stream(model, asked.get("options"))
            return
        said = _piece(model, "A stand-in has nothing to say." if prompt else "")
        self.send_json(200, {**said, "done": True, "done_reason": "stop" if prompt else "load"})

    def _stream(self, model: str, options: object) -> None:
        """Send ``num_predict`` pieces of text (20), each a line of its own, one every PAUSE seconds."""
        wanted = options.get("num_predict") if isinstance(options, dict) else None
        pieces = wanted if isinstance(wanted, int) else 20
        self.begin_stream()
        for number in range(pieces):
            self.send_line({**_piece(model, f"{number} "), "done": False})
            self.standin.wait(PAUSE)
        self.send_line({**_piece(model, ""), "done": True, "done_reason": "stop"})
        self.end_stream()

    def begin_stream(self) -> None:
        """Begin an answer of lines of JSON."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def end_stream(self) -> None:
        """End it."""
        self.raw(b"0\r\n\r\n")

    def send_line(self, value: Json) -> None:
        """Send one line of it."""
        line = json.dumps(value).encode() + b"\n"
        self.raw(b"%x\r\n%b\r\n" % (len(line), line))


def _piece(model: str, text: str) -> Json:
    return {"model": model, "created_at": _timestamp(time.time()), "response": text}


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on, for a server that is started later.

    It is below the ports of outgoing connections on Linux: one of these could have taken it by then.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - any will do
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "417Z"


def _tag(name: str) -> Json:
    return {
        "name": name,
        "model": name,
        "modified_at": _timestamp(1_750_000_000.0),
        "size": SIZE,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        },
    }


def _running(standin: Standin, *, on_gpu: float = 1.0, expired: float = 0.0, **_: object) -> Iterator[Json]:
    now = time.time()
    for name, until in tuple(standin.expiry.items()):
        if until > now:
            entry = _tag(name)
            del entry["modified_at"]
            entry["expires_at"] = _timestamp(standin.fault_since - expired if expired else until)
            yield {**entry, "size_vram": int(SIZE * on_gpu), "context_length": CONTEXT}
