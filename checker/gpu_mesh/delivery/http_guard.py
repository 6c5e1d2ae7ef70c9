"""Bounds what an alert's receiver may do to the process that sends to it, and says what it answered.

Apprise's plugins use requests, which reads an answer of any size and follows a redirect: a POST then arrives
as an empty GET, at a host that nobody named, with the token in its path. So every request that requests makes
for a message passes through here, below the plugins: no redirect is followed, an answer is read up to a
size and a time, and its status is noted for who sends (sender.py). Apprise itself reports only that a service
did not accept a message, and a plugin may take any answer for success.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from msgspec import Struct
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

LARGEST = 1_000_000
"""Bytes of an answer, decoded, that are read. Services answer with a few hundred."""

SLOWEST = 20.0
"""Seconds for which an answer is read."""

_TOO_MANY = 429


class Exchange(Struct, frozen=True):
    """One request of a plugin's, and why the message cannot have arrived with it."""

    problem: str = ""  # in our own words, without secrets; "": nothing speaks against it
    said: str = ""  # the receiver's own words, which may quote a secret
    redirected: bool = False
    host: str = ""  # where a redirect points
    wait: float = 0.0  # seconds until the service wants to be asked again; 0.0: it did not say


_noted = threading.local()


@contextmanager
def watched() -> Iterator[list[Exchange]]:
    """Collect the exchanges that this thread makes meanwhile."""
    exchanges: list[Exchange] = []
    _noted.exchanges = exchanges
    try:
        yield exchanges
    finally:
        _noted.exchanges = None


def install() -> None:
    """Let the requests of watched threads pass through here, from now on."""
    HTTPAdapter.send = _send  # type: ignore[assignment, method-assign] # the one place below all plugins


_unguarded = HTTPAdapter.send


def _send(adapter: HTTPAdapter, request: Any, *given: Any, **options: Any) -> Any:
    """Send one request, as requests' adapter does.

    Raises:
        requests.RequestException: it failed.
    """
    exchanges: list[Exchange] | None = getattr(_noted, "exchanges", None)
    if exchanges is None:  # no plugin's: a probe in the same process, say
        return _unguarded(adapter, request, *given, **options)
    try:
        response: Any = _unguarded(adapter, request, *given, **options)
    except requests.RequestException as error:
        exchanges.append(Exchange(_words_of(error)))
        raise
    exchanges.append(_judged(response))
    response.headers.pop("location", None)  # without it, requests has nothing to follow
    response.raw = _Bounded(response.raw)
    return response


def _judged(response: Any) -> Exchange:
    status, said = response.status_code, response.reason or ""
    if 300 <= status < 400:
        to = urlsplit(urljoin(response.url, response.headers.get("location", "")))
        host = to.netloc.rpartition("@")[2] if "location" in response.headers else ""
        return Exchange(f"HTTP {status}, a redirect", redirected=True, host=host)
    if status == _TOO_MANY:
        wait = _seconds(response.headers.get("retry-after", ""), response.headers.get("date", ""))
        asks = f": it asks for {wait:.0f} s" if wait else ""
        return Exchange(f"HTTP 429, too many messages{asks}", wait=wait)
    return Exchange(f"HTTP {status}", said) if status >= 400 else Exchange()


def _seconds(retry_after: str, date: str) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3); 0.0: there is none that can be read."""
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, (parsedate_to_datetime(retry_after) - parsedate_to_datetime(date)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _words_of(error: requests.RequestException) -> str:
    """Name the cause of a failed request in a few words, without anything of the URL."""
    text = str(error)
    for found, words in _CAUSES.items():
        if found in text:
            return words
    return "no connection" if isinstance(error, requests.ConnectionError) else "the request failed"


_CAUSES = {
    "CERTIFICATE_VERIFY_FAILED": "TLS: its certificate is not trusted",
    "WRONG_VERSION_NUMBER": "TLS: what answers does not speak it",
    "SSL": "TLS failed",
    "ConnectTimeout": "no connection in time",
    "connect timeout": "no connection in time",
    "Read timed out": "no answer in time",
    "Connection refused": "connection refused",
    "Connection reset": "connection reset",
    "RemoteDisconnected": "it closed the connection without an answer",
    "NameResolutionError": "its name does not resolve",
    "Name or service not known": "its name does not resolve",
    "Network is unreachable": "network unreachable",
    "No route to host": "no route to its host",
}


class _Bounded:
    """The body of an answer, cut off where it is too large or too slow; the status came first."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._until = monotonic() + SLOWEST

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *given: Any, **options: Any) -> Iterator[bytes]:
        """Yield the body piece by piece, as urllib3 does; one that breaks off just ends."""
        left = LARGEST
        with suppress(HTTPError):
            for piece in self._raw.stream(*given, **options):
                yield piece
                left -= len(piece)
                if left < 0 or monotonic() > self._until:
                    self._raw.close()
                    return
