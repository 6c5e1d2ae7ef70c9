"""Decides what a network exception says about a node: a Fault and a few words; for the room's HTTP client."""

import errno
import http.client
import os
import ssl
from collections.abc import Iterator

from requests.exceptions import (
    InvalidHeader,
    InvalidProxyURL,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    ProxyError,
    RequestException,
)
from urllib3.exceptions import HTTPError
from urllib3.exceptions import InvalidHeader as AnsweredInvalidHeader

from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.errors import GetError

_CONNECT_FAULTS = {
    errno.ECONNREFUSED: Fault.REFUSED,
    errno.ECONNRESET: Fault.RESET,
    errno.ETIMEDOUT: Fault.CONNECT_TIMEOUT,
    errno.EHOSTUNREACH: Fault.NO_ROUTE,
    errno.ENETUNREACH: Fault.NO_ROUTE,
    errno.EHOSTDOWN: Fault.NO_ROUTE,
    errno.ENETDOWN: Fault.NO_ROUTE,
    errno.EADDRNOTAVAIL: Fault.NO_ROUTE,  # an IPv6 address on a host without IPv6
    errno.EAFNOSUPPORT: Fault.NO_ROUTE,
}
_OUR_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN)
"""This machine has run out of something, which says nothing about a node."""

_NO_THREAD = "can't start new thread"  # the only words by which CPython tells this RuntimeError from others

_CERTIFICATE_FAULTS = {  # by OpenSSL's verify code
    9: "certificate is not valid yet",
    10: "certificate has expired",
    18: "unknown CA (self-signed certificate)",
    19: "unknown CA (self-signed certificate in the chain)",
    20: "unknown CA",
    21: "unknown CA (the chain is not complete)",
    62: "wrong name: the certificate is for another host",
    64: "wrong name: the certificate is for another address",
}


def connect_error(error: OSError, seconds: float) -> GetError:
    """Return the fault of a failed connection; ``seconds`` is the time that the node had."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return GetError(Fault.CONNECT_TIMEOUT, f"nobody accepted within {seconds:.3g} s")
    words = os.strerror(error.errno).lower() if error.errno else "cannot connect"
    if error.errno in _OUR_OWN:
        return GetError(Fault.MONITOR, words)
    return GetError(_CONNECT_FAULTS.get(error.errno or 0, Fault.UNUSABLE), words)


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """Yield the exception and every one that it wraps: as its cause or, as requests does, as an argument."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    wrapped = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
    for inner in wrapped:
        if isinstance(inner, BaseException):
            yield from _chain(inner, seen)


# What an exception means. The first row that matches any link of the chain wins; general types come last.
_MEANINGS: tuple[tuple[type[BaseException], Fault, str], ...] = (
    (InvalidProxyURL, Fault.PROXY, "its URL cannot be used"),
    *(
        (kind, Fault.UNUSABLE, "the URL cannot be used")
        for kind in (InvalidURL, InvalidSchema, MissingSchema)
    ),
    (ssl.SSLEOFError, Fault.CLOSED, "closed during the TLS handshake"),
    (ssl.SSLZeroReturnError, Fault.CLOSED, "closed during the TLS handshake"),
    (TimeoutError, Fault.READ_TIMEOUT, "no whole answer within {seconds:.3g} s"),
    (http.client.RemoteDisconnected, Fault.CLOSED, "closed without an answer"),
    (ConnectionError, Fault.RESET, "connection reset"),
    (http.client.LineTooLong, Fault.TOO_LARGE, "a header line without end"),
    (http.client.BadStatusLine, Fault.NOT_JSON, "the answer is not HTTP"),
    (http.client.UnknownProtocol, Fault.NOT_JSON, "the answer is not HTTP"),
    (http.client.IncompleteRead, Fault.CLOSED, "closed in the middle of an answer"),
    (AnsweredInvalidHeader, Fault.NOT_JSON, "several Content-Length headers that differ"),
    (InvalidHeader, Fault.UNUSABLE, "a header has a name or value that HTTP does not allow"),
    (ProxyError, Fault.PROXY, "it does not let the probe through"),
)
_LAST_MEANINGS: tuple[tuple[type[BaseException], Fault, str], ...] = (
    (http.client.HTTPException, Fault.TOO_LARGE, "headers without end"),  # "got more than 100 headers"
    (HTTPError, Fault.NOT_JSON, "the answer breaks the rules of HTTP"),
    (RequestException, Fault.UNUSABLE, "the request cannot be sent"),
)


def own_trouble(error: BaseException) -> str:
    """Return what this machine or this installation lacks, in a few words; "": the error is none of its own.

    The list is short and closed, for nothing in it can be chosen by the other end.
    """
    for link in _chain(error, set()):
        if isinstance(link, MemoryError):
            return "no memory left"
        if isinstance(link, RuntimeError) and str(link) == _NO_THREAD:
            return "no threads left"
        if isinstance(link, ImportError):
            return f"a part of the program is missing: {link.name}"
        if isinstance(link, OSError) and link.errno in _OUR_OWN:
            return os.strerror(link.errno or 0).lower()
    return ""


def fault_of(error: BaseException, seconds: float, *, heard: bool) -> tuple[Fault, str]:
    """Return the fault of a failed request, and its words.

    Args:
        error: what the request raised.
        seconds: the time that the node had.
        heard: whether bytes of an answer have arrived. From then on an error that nobody has foreseen is the
            node's: whoever answers must not choose whom it is blamed on.
    """
    if words := own_trouble(error):
        return Fault.MONITOR, words
    fault, words = _meaning_of(error, seconds)
    if heard and fault in (Fault.BROKEN, Fault.UNUSABLE):  # such as a chunk of a negative size
        return Fault.UNREADABLE, f"it cannot be read: {type(error).__name__}"
    return fault, words


def _meaning_of(error: BaseException, seconds: float) -> tuple[Fault, str]:
    links = tuple(_chain(error, set()))
    for link in links:
        if isinstance(link, ssl.SSLCertVerificationError):
            return Fault.TLS, _CERTIFICATE_FAULTS.get(link.verify_code, str(link.verify_message))
    for kind, fault, words in _MEANINGS:
        if any(isinstance(link, kind) for link in links):
            return fault, words.format(seconds=seconds)
    for link in links:
        if isinstance(link, ssl.SSLError):
            return _tls_fault(link)
        if isinstance(link, OSError) and link.errno in _CONNECT_FAULTS:
            return _CONNECT_FAULTS[link.errno], os.strerror(link.errno).lower()
    for kind, fault, words in _LAST_MEANINGS:
        if any(isinstance(link, kind) for link in links):
            return fault, words
    return Fault.BROKEN, f"the probe broke: {type(error).__name__}"


def _tls_fault(error: ssl.SSLError) -> tuple[Fault, str]:
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return Fault.NO_TLS, ""
    return Fault.TLS, reason.replace("_", " ").lower() or "the handshake failed"
