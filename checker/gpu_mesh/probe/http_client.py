"""Sends HTTP requests to one node within one deadline and one size limit (sockets.py); for ollama.py.

It never reads ~/.netrc, follows a redirect, retries a request or decompresses an answer.
"""

import functools
import os
import re
import ssl
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection

from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.errors import GetError
from gpu_mesh.probe.faults import fault_of
from gpu_mesh.probe.sockets import (
    MAX_BODY,
    Allowance,
    BoundedSocket,
    BoundedTLSSocket,
    Connect,
    Resolve,
    connect,
    system_resolve,
    too_large,
)
from gpu_mesh.text.sanitize import one_line

MAX_HEADER_FILE = 2**13  # bytes
_NAME = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"  # of a header (RFC 9110, token)


class Answer(Struct, frozen=True):
    """A complete HTTP answer. The node wrote the header values: sanitize them before people see them."""

    status: int
    body: bytes
    date: str = ""
    location: str = ""


class _Bounded(HTTPConnection):
    def __init__(self, *, allowance: Allowance, resolve: Resolve, connect: Connect, **options: Any) -> None:
        super().__init__(**options)
        self._allowance, self._resolve, self._connect = allowance, resolve, connect

    def _new_conn(self) -> BoundedSocket:
        try:
            return self._connect(self._dns_host, self.port, self._allowance, self._resolve)
        except GetError as error:
            if self.proxy is None:
                raise
            # The node is not to blame: the request never reached it.
            raise GetError(Fault.PROXY, f"{self.host}:{self.port}: {error.detail}") from None


class _BoundedTLS(_Bounded, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, BoundedTLSSocket):
            self.sock.allowance = self._allowance


class _Adapter(HTTPAdapter):
    """The adapter from requests to urllib3, with connections that keep to the allowance.

    It is one node's. So it looks its pool up once, and adds no cookies, history or encoding to an answer of
    urllib3's: with many nodes, that was a fifth of a probe's CPU.
    """

    def __init__(self, allowance: Allowance, ca_file: str, resolve: Resolve, connect: Connect) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._ca_file = ca_file
        self._pool: Any = None
        self._bounds: dict[str, Any] = {"allowance": allowance, "resolve": resolve, "connect": connect}

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        if self._pool is None:
            pool: Any = super().get_connection_with_tls_context(*args, **options)
            kind = _BoundedTLS if pool.scheme == "https" else _Bounded
            pool.ConnectionCls = functools.partial(kind, **self._bounds)
            self._pool = pool
        return self._pool

    def build_response(self, req: PreparedRequest, resp: Any) -> Any:  # noqa: ARG002 - requests' own signature
        """Return urllib3's answer as it is."""
        return resp

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        host, tls = super().build_connection_pool_key_attributes(*args, **options)
        if host["scheme"] == "https":
            return host, {"ssl_context": _tls_context(self._ca_file), "cert_reqs": "CERT_REQUIRED"}
        return host, tls

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context verifies certificates already."""


def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the context that trusts this CA file or, without one, the public CAs. Nodes share contexts."""
    if not ca_file:
        return _load_tls_context("", 0)
    try:
        return _load_tls_context(ca_file, Path(ca_file).stat().st_mtime_ns)
    except ssl.SSLError:
        raise GetError(Fault.UNUSABLE, f"the CA file {ca_file} holds no certificate") from None
    except OSError as error:
        raise GetError(Fault.UNUSABLE, f"the CA file {ca_file}: {(error.strerror or '').lower()}") from None


_context_lock = threading.Lock()


def _load_tls_context(ca_file: str, changed: int) -> ssl.SSLContext:
    with _context_lock:  # reading the public CAs takes 20 ms of CPU: once, not once in each thread
        return _loaded_tls_context(ca_file, changed)


@functools.lru_cache(maxsize=64)
def _loaded_tls_context(ca_file: str, changed: int) -> ssl.SSLContext:  # noqa: ARG001 - a changed file is read again
    context = ssl.create_default_context(cafile=ca_file or None)
    if not ca_file and not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    context.sslsocket_class = BoundedTLSSocket
    return context


class Session:
    """Requests to one node, over one connection if the node allows it. Use it in a ``with`` statement.

    Args:
        url: of the node, without a trailing slash.
        seconds: the deadline, for all requests of the session together.
        headers: to send; a value ``@/path`` is read from that file.
        ca_file: PEM; "": the public CAs.
        trust_env: whether to use a proxy that the environment names.
        resolve: turns a name into addresses.
        connect: opens the connection.

    Raises:
        GetError: UNUSABLE, if a header file cannot be used.
    """

    def __init__(
        self,
        url: str,
        seconds: float,
        *,
        headers: Mapping[str, str] | None = None,
        ca_file: str = "",
        trust_env: bool = False,
        resolve: Resolve = system_resolve,
        connect: Connect = connect,
    ) -> None:
        self._until = monotonic() + seconds
        self._url = url
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # no compression, so no decompression bomb
            "User-Agent": "gpu-mesh",
            **{name: header_value(name, value) for name, value in (headers or {}).items()},
        }
        self._proxies = get_environ_proxies(url) if trust_env else {}
        if self._proxies:
            _check_proxy(select_proxy(url, self._proxies) or "")
        self._allowance = Allowance(seconds)
        self._adapter = _Adapter(self._allowance, ca_file, resolve, connect)
        self._prepared: PreparedRequest | None = None  # the last GET
        self._path = ""  # its path

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc: object) -> None:
        self._adapter.close()

    @property
    def heard(self) -> bool:
        """Whether any byte of an answer has arrived."""
        return self._allowance.heard

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 or less: it has passed."""
        return self._until - monotonic()

    def get(self, path: str, *, share: float = 1.0) -> Answer:
        """GET ``url + path``.

        Args:
            path: with the leading slash.
            share: the part of the remaining time that the request may take, 0 to 1.

        Raises:
            GetError: there is no complete answer.
        """
        return self._request(path, None, share)

    def post(self, path: str, body: bytes, *, share: float = 1.0) -> Answer:
        """POST JSON to ``url + path``; otherwise as ``get``."""
        return self._request(path, body, share)

    def _request(self, path: str, body: bytes | None, share: float) -> Answer:
        self._allowance.grant(self.left * share)
        try:
            request = self._get_of(path) if body is None else self._post_of(path, body)
            # requests needs a timeout here, but the socket's allowance is what limits the request.
            response: Any = self._adapter.send(
                request, stream=True, timeout=self._allowance.left(), proxies=self._proxies
            )
            self._allowance.begin_body()
            try:
                return self._answer(response)
            finally:
                response.close()  # if it was not read to its end, the connection goes with it
                response.release_conn()
        except GetError:
            raise
        except Exception as error:  # noqa: BLE001 - any failure is a fact about the node
            fault, detail = fault_of(error, self._allowance.seconds, heard=self.heard)
            raise GetError(fault, detail) from None  # the error's text may hold a header's secret

    def _get_of(self, path: str) -> PreparedRequest:
        """Return the request. All GETs of a session differ in the end of their URL alone."""
        if self._prepared is None:
            self._prepared = PreparedRequest()
            self._prepared.prepare(method="GET", url=self._url + path, headers=self._headers)
        else:
            self._prepared.url = f"{(self._prepared.url or '').removesuffix(self._path)}{path}"
        self._path = path
        return self._prepared

    def _post_of(self, path: str, body: bytes) -> PreparedRequest:
        request = PreparedRequest()
        headers = {**self._headers, "Content-Type": "application/json"}
        request.prepare(method="POST", url=self._url + path, headers=headers, data=body)
        return request

    def _answer(self, raw: Any) -> Answer:
        status, headers = raw.status, raw.headers
        if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise GetError(Fault.NOT_JSON, "the answer is compressed, though that was not asked for")
        if (raw.length_remaining or 0) > MAX_BODY:
            raise too_large()
        body = raw.read(MAX_BODY + 1, decode_content=False)
        if len(body) > MAX_BODY:
            raise too_large()
        if raw.length_remaining:  # urllib3 does not notice that a body ends early if read() has a size
            raise GetError(Fault.CLOSED, "closed in the middle of an answer")
        return Answer(status, body, headers.get("Date", ""), headers.get("Location", ""))


def _check_proxy(proxy: str) -> None:
    """Raise GetError if no request can go through the proxy. Its URL may hold a password: it is not shown."""
    kind, separator, rest = proxy.partition("://")
    if separator and kind.lower() not in ("http", "https"):
        raise GetError(Fault.PROXY, f"its kind is {one_line(kind, 20)}; only http and https are used")
    try:
        _ = urlsplit(f"//{rest if separator else proxy}").port
    except ValueError:
        raise GetError(Fault.PROXY, "its URL cannot be used") from None


def header_value(name: str, value: str) -> str:
    """Return a header's value: the text itself or, for ``@/path``, the one line of that file.

    Raises:
        GetError: UNUSABLE. It names the header and the file, never their content.
    """
    if value.startswith("@/"):
        where = f"the file {value[1:]} of header {name}"
        value = read_private(Path(value[1:]), where)
    else:
        where = f"header {name}"
    if (
        not re.fullmatch(_NAME, name)
        or not value.isprintable()
        or not all(ord(letter) < 256 for letter in value)
    ):
        raise GetError(Fault.UNUSABLE, f"{where} holds characters that a header cannot have")
    return value


def read_private(path: Path, where: str) -> str:
    """Return the one line of a file that nobody else may read.

    Args:
        path: of the file.
        where: the subject of an error's words.

    Raises:
        GetError: UNUSABLE. It never repeats the file's content.
    """
    try:
        # O_NONBLOCK: a named pipe in its place must not block the check.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise GetError(Fault.UNUSABLE, f"{where} is not a regular file")
            if status.st_mode & 0o077:
                raise GetError(Fault.UNUSABLE, f"{where} can be read by others: chmod 600 {path}")
            content = file.read(MAX_HEADER_FILE + 1)
    except OSError as error:
        raise GetError(Fault.UNUSABLE, f"{where}: {(error.strerror or '').lower()}") from None
    if not content.strip() or len(content) > MAX_HEADER_FILE:
        raise GetError(Fault.UNUSABLE, f"{where} is empty or too long")
    return content.decode("latin-1").strip()
