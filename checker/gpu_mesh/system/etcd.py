"""Talks to etcd through its JSON gateway (/v3/…, etcd 3.4 and newer), for what several monitors share.

Only what the cluster needs: keys, transactions and leases. Keys and values are base64 there, and each 64-bit
number is a string. http.client does it: an HTTP library would cost each command more than all its requests.
"""

import base64
import http.client
import socket
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import ssl

LARGEST = 64_000_000
"""Bytes of an answer that are read. etcd itself takes requests of a few million bytes."""

FULL = "its database is full (NOSPACE): docs/cluster.md says how to make room"

_NOT_ETCD = "its answer is not etcd's"

_REASON = 300
"""Characters of an error of etcd's that are passed on."""


class EtcdError(Exception):
    """etcd did not do what was asked; the message says why."""


class AwayError(EtcdError):
    """No endpoint answered in time, or none can serve: the quorum is lost, the network cut, the disk full."""


class Tls(Struct, frozen=True):
    """The files of TLS, absolute paths; "": none."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class KeyValue(Struct, frozen=True):
    """A key as etcd has it."""

    key: str
    value: bytes
    created: int  # the revision in which it was made; it differs each time that it is made anew
    lease: int  # 0: none


class Compare(Struct, frozen=True):
    """A condition of a transaction: the key was made in that revision, or has that value."""

    key: str
    created: int | None = None  # 0: there is no such key
    value: bytes | None = None


class Put(Struct, frozen=True):
    """Writes a key."""

    key: str
    value: bytes
    lease: int = 0


class Delete(Struct, frozen=True):
    """Removes a key, if there is one."""

    key: str


class Get(Struct, frozen=True):
    """Reads a key, or all keys that begin so."""

    key: str
    prefix: bool = False


Operation = Put | Delete | Get


class Answer(Struct, frozen=True):
    """What a transaction did."""

    succeeded: bool  # whether every condition held
    found: tuple[tuple[KeyValue, ...], ...]  # of each Get of the side that was carried out


class Etcd:
    """The endpoints of one etcd, asked over one connection at a time."""

    def __init__(
        self, endpoints: Sequence[str], tls: Tls, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take where etcd is, and how long all that is asked may take together.

        Args:
            endpoints: URLs, ``https://host:port``; the first that answers is used on.
            tls: for those that begin with https.
            seconds: from now on, for all requests.
            clock: returns seconds of a clock that is never set.
        """
        self._endpoints, self._tls, self._clock = list(endpoints), tls, clock
        self._until = clock() + seconds
        self._connection: http.client.HTTPConnection | None = None
        self._context: ssl.SSLContext | None = None

    @property
    def endpoint(self) -> str:
        """The one that answered last."""
        return self._endpoints[0]

    def grant_time(self, seconds: float) -> None:
        """Let all that is asked from now on take so many seconds together."""
        self._until = self._clock() + seconds

    def __enter__(self) -> "Etcd":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def transact(
        self, then: Sequence[Operation], when: Sequence[Compare] = (), otherwise: Sequence[Operation] = ()
    ) -> Answer:
        """Do all of ``then`` at once if every condition holds, else all of ``otherwise``.

        Raises:
            AwayError: no endpoint answered. It may have been done all the same.
            EtcdError: etcd refused it.
        """
        asked = {
            "compare": [_compare(each) for each in when],
            "success": [_operation(each) for each in then],
            "failure": [_operation(each) for each in otherwise],
        }
        said = self._post("/v3/kv/txn", asked)
        try:
            found = tuple(
                tuple(map(_key_value, each["response_range"].get("kvs", ())))
                for each in said.get("responses", ())
                if "response_range" in each
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise EtcdError(f"{self._endpoints[0]}: {_NOT_ETCD}") from None
        return Answer(bool(said.get("succeeded")), found)

    def grant(self, seconds: int) -> int:
        """Return a new lease: what is put under it is gone when it was not renewed for so long.

        Raises:
            AwayError, EtcdError: as ``transact``.
        """
        said = self._post("/v3/lease/grant", {"TTL": str(seconds)})
        try:
            return int(said["ID"])
        except (KeyError, TypeError, ValueError):
            raise EtcdError(f"{self._endpoints[0]}: {_NOT_ETCD}") from None

    def renew(self, lease: int) -> bool:
        """Renew a lease; return False if it is over.

        Raises:
            AwayError, EtcdError: as ``transact``.
        """
        said = self._post("/v3/lease/keepalive", {"ID": str(lease)})
        try:
            return int(said["result"].get("TTL", 0)) > 0
        except (KeyError, TypeError, ValueError, AttributeError):
            raise EtcdError(f"{self._endpoints[0]}: {_NOT_ETCD}") from None

    def revoke(self, lease: int) -> None:
        """End a lease, and so remove what is under it; one that is over already is no error.

        Raises:
            AwayError: as ``transact``.
        """
        try:
            self._post("/v3/lease/revoke", {"ID": str(lease)})
        except AwayError:
            raise
        except EtcdError:
            return

    def clocks(self) -> tuple[float, ...]:
        """Return by how many seconds the clock of each endpoint that answers is ahead of this machine's.

        Whole seconds only, and the answer's way back counts: it is to find a clock that is wrong.
        """
        ahead = []
        for endpoint in self._endpoints:
            connection = self._open(endpoint)
            try:
                connection.request("GET", "/version")
                answer = connection.getresponse()
                answer.read(_REASON)
                ahead.append(parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time())
            except (OSError, http.client.HTTPException, TypeError, ValueError):
                continue
            finally:
                connection.close()
        return tuple(ahead)

    def _post(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Ask the endpoint that answered last, then the others in turn."""
        body, reason = msgspec.json.encode(asked), "no endpoint is given"
        for _ in range(len(self._endpoints)):
            endpoint = self._endpoints[0]
            try:
                status, said = self._ask(endpoint, path, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = f"{endpoint}: {_why(error)}"
            else:
                if status == 200 and "error" not in said:
                    return said
                reason = f"{endpoint}: {_reason(said, status)}"
                if _is_full(reason):
                    raise AwayError(f"{endpoint}: {FULL}")
                if status < 500 or _is_final(said):
                    raise EtcdError(reason)
            self.close()
            self._endpoints.append(self._endpoints.pop(0))
        raise AwayError(reason)

    def _ask(self, endpoint: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            self._connection = self._open(endpoint)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(self._share())
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        data = answer.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError("its answer is too large")
        try:
            return answer.status, msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ValueError(_NOT_ETCD) from None

    def _open(self, endpoint: str) -> http.client.HTTPConnection:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port or 2379
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=self._share())
        return http.client.HTTPSConnection(host, port, timeout=self._share(), context=self._trusted())

    def _trusted(self) -> "ssl.SSLContext":
        if self._context is None:
            import ssl  # a cluster on loopback needs none

            self._context = ssl.create_default_context(cafile=self._tls.ca or None)
            if self._tls.cert:
                self._context.load_cert_chain(self._tls.cert, self._tls.key or None)
        return self._context

    def _share(self) -> float:
        """Return the seconds that the next request may take: some are kept for the other endpoints."""
        left = self._until - self._clock()
        if left <= 0:
            raise TimeoutError("its time is used up")
        return max(left / len(self._endpoints), min(left, 0.2))


def _is_full(reason: str) -> bool:
    """Return whether etcd reads, but takes nothing any more until a person has made room."""
    return "database space exceeded" in reason


def _is_final(said: dict[str, Any]) -> bool:
    """Return whether another endpoint would say the same: the request, or the whole cluster, is at fault.

    Codes of gRPC: 3 invalid argument, 5 not found, 7 denied, 8 exhausted (a message is too large), 9
    precondition, 16 unknown user.
    """
    return said.get("code") in (3, 5, 7, 8, 9, 16)


def _reason(said: dict[str, Any], status: int) -> str:
    error = said.get("error") or said.get("message")
    if isinstance(error, dict):
        error = error.get("message")
    return str(error)[:_REASON] if error else f"HTTP {status}"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError | socket.timeout):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _coded(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode("ascii")


def _compare(condition: Compare) -> dict[str, Any]:
    said: dict[str, Any] = {"key": _coded(condition.key), "result": "EQUAL"}
    if condition.value is not None:
        return {**said, "target": "VALUE", "value": _coded(condition.value)}
    return {**said, "target": "CREATE", "create_revision": str(condition.created or 0)}


def _operation(operation: Operation) -> dict[str, Any]:
    key = _coded(operation.key)
    match operation:
        case Put(value=value, lease=lease):
            return {"request_put": {"key": key, "value": _coded(value), "lease": str(lease)}}
        case Delete():
            return {"request_delete_range": {"key": key}}
        case Get(prefix=True):
            end = operation.key[:-1] + chr(ord(operation.key[-1]) + 1)
            return {"request_range": {"key": key, "range_end": _coded(end)}}
    return {"request_range": {"key": key}}


def _key_value(said: dict[str, Any]) -> KeyValue:
    return KeyValue(
        key=base64.b64decode(said["key"]).decode(),
        value=base64.b64decode(said.get("value", "")),
        created=int(said["create_revision"]),
        lease=int(said.get("lease", 0)),
    )
