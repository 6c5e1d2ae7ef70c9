"""Decides which values an inventory variable may have, and reads them; for inventory/variables.py. Pure.

INI inventories give strings and Python literals, YAML gives typed values. So "5" is accepted as a number, yes
and no as true and false, and a comma-separated string as a list.
"""

import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.mesh import LAST_RUNG, GpuExpectation, GpuRule
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.inventory.host_names import authority, host_with_port, is_host, without_brackets
from gpu_mesh.text.suggest import did_you_mean

_TRUTHS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_SHOWN = 60  # characters of a wrong value that a message repeats
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_HEADER = re.compile(
    r"auth|cookie|token|secret|passw|pwd|credential|signature|session|jwt|api[-_]?key|access[-_]?key|key$",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&()*+,;=:@%-]{1,100}){0,8}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
_SECRET_VALUE = re.compile(r"\s*(basic|bearer|digest|token|apikey)\s", re.IGNORECASE)


class ShapeError(Exception):
    """The value does not have the right shape."""


class Shape(Struct, frozen=True):
    """A kind of value: its name in messages and in the documentation, and the function that reads it.

    ``read`` raises ShapeError: with a message of its own, or without one if ``words`` say enough.
    """

    words: str
    read: Callable[[object], Any]
    shown: bool = True  # whether a message may repeat the wrong value; False if it may hold a secret

    def wrong(self, value: object, problem: ShapeError) -> str:
        """Return in words what is wrong with a value that ``read`` did not accept."""
        if str(problem):
            return str(problem)
        return f"must be {self.words}, not {quoted(value)}" if self.shown else f"must be {self.words}"


def quoted(value: object) -> str:
    """Return a wrong value, shortened, for a message; never a URL, since it may hold a password."""
    try:
        text = repr(value)
    except ValueError:  # int's limit on digits
        return "such a long number"
    if "://" in text:
        return "a URL"
    return text[:_SHOWN] + "…" if len(text) > _SHOWN else text


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (word := value.strip().lower()) in _TRUTHS:
        return _TRUTHS[word]
    raise ShapeError


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ShapeError
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ShapeError from None
    if not math.isfinite(number):
        raise ShapeError
    return number


def _seconds(most: float, least: float = 0.0) -> Callable[[object], float]:
    def read(value: object) -> float:
        number = _number(value)
        if not least <= number <= most or number <= 0:
            raise ShapeError
        return number

    return read


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = _number(value)
        if number != int(number) or not low <= number <= high:
            raise ShapeError
        return int(number)

    return read


def _whole_or_none(low: int, high: int) -> Callable[[object], int]:
    read = _whole(low, high)
    return lambda value: 0 if _number(value) == 0 else read(value)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ShapeError
    try:
        text = str(value).strip()
    except ValueError:  # int's limit on digits
        raise ShapeError from None
    if not text or not text.isprintable():
        raise ShapeError
    return text


def _matching(pattern: str) -> Callable[[object], str]:
    compiled = re.compile(pattern)

    def read(value: object) -> str:
        text = _text(value)
        if not compiled.fullmatch(text):
            raise ShapeError
        return text

    return read


def _list_of(read_one: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            if value.strip().startswith("[") and value.strip().endswith("]"):
                raise ShapeError(
                    "must be a list, not text that looks like one: leave out the quotes around it"
                )
            value = [part for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise ShapeError
        return tuple(dict.fromkeys(read_one(item) for item in value))

    return read


def _mac(value: object) -> str:
    """Return the six bytes of a network card's address, in the usual spelling."""
    if isinstance(value, int):  # YAML 1.1 takes digits between colons for a number to the base 60
        raise ShapeError("must be in quotes: without them YAML takes it for a number")
    text = _text(value).lower().replace("-", ":")
    if not _MAC.fullmatch(text):
        raise ShapeError
    if int(text[:2], 16) & 1:
        raise ShapeError("must be the address of one network card, not of a group of them")
    return text


def _host(value: object) -> str:
    text = without_brackets(_text(value))
    if parts := host_with_port(text):
        raise ShapeError(f"must be a host without a port: {parts[0]}; the port has a variable of its own")
    if not is_host(text):
        raise ShapeError
    return text


def _host_and_port(value: object) -> str:
    host, separator, port = _text(value).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not port.isascii() or not port.isdigit() or (":" in host and not bracketed):
        raise ShapeError
    return authority(_host(host), _whole(1, 65535)(port))


def _url(value: object) -> str:
    text = _plain_url(value)
    parts = urlsplit(text)
    prefix = parts.path.rstrip("/")
    if parts.query or parts.fragment:
        raise ShapeError("must end after its path: a query or fragment is not used")
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/")):
        raise ShapeError("has a path that cannot be asked for as it stands; write it plainly: /ollama")
    return f"{parts.scheme}://{parts.netloc}{prefix}"


def _plain_url(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or " " in value.strip():
        raise ShapeError
    try:
        parts = urlsplit(value.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ShapeError("has no usable port or address; an IPv6 address must be in brackets") from None
    if parts.scheme not in ("http", "https"):
        raise ShapeError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ShapeError("must not carry a user or password")
    if not host or not is_host(host) or port == 0:
        raise ShapeError
    return value.strip()


def _endpoint(value: object) -> str:
    """Read a URL of etcd: without TLS only this machine's own."""
    text = _url(value)
    parts = urlsplit(text)
    if parts.path:
        raise ShapeError("must end after the port")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ShapeError(
            "must begin with https:// but on this machine itself: the state goes over the network"
        )
    return text


def _secret_url(value: object) -> str:
    if isinstance(value, str) and value.startswith("@/") and value.isprintable():
        return value
    return _plain_url(value)


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ShapeError
    headers = {}
    for name, content in value.items():
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            raise ShapeError("has a name that no HTTP header can have")
        try:
            text = _text(content)
        except ShapeError:
            raise ShapeError(f"must have one line of text as the value of {name}") from None
        if text.startswith("@") and not text.startswith("@/"):
            raise ShapeError(f"must name the file of {name} by its absolute path: @/path")
        if not text.startswith("@") and (_SECRET_HEADER.search(name) or _SECRET_VALUE.match(text)):
            raise ShapeError(
                f"must not hold the secret of {name} itself: put it into a file, and write @/path"
            )
        headers[name] = text
    return headers


def _playbooks(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ShapeError
    known = [*Cause, LAST_RUNG]
    for name, path in value.items():
        if name not in known:
            hint = did_you_mean(str(name), known, f"there are {', '.join(known)}")
            raise ShapeError(f"has no cause {quoted(name)}; {hint}")
        if not isinstance(path, str) or not path.startswith("/") or not path.isprintable():
            raise ShapeError(f"must name the playbook of {name} by its absolute path on the monitor")
    return {str(name): path for name, path in value.items()}


def _model_ports(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ShapeError
    port, found = _whole_or_none(1, 65535), dict[str, int]()
    for name, number in value.items():
        if not isinstance(name, str) or not MODEL.fullmatch(name):
            raise ShapeError(f"must have names of models, not {quoted(name)}")
        try:
            found[canonical(name)] = port(number)
        except ShapeError:
            raise ShapeError(f"must have a port from 1 to 65535 for {name}, or 0") from None
    return found


def _gpus(value: object) -> GpuExpectation:
    """Read what the mesh expects of a node's GPUs: ``auto``, a truth, or a number of cards."""
    if isinstance(value, str) and value.strip().lower() == GpuRule.AUTO:
        return GpuExpectation()
    try:
        return GpuExpectation(GpuRule.EXPECTED, 1) if _boolean(value) else GpuExpectation(GpuRule.NONE)
    except ShapeError:
        return GpuExpectation(GpuRule.EXPECTED, _whole(1, 64)(value))


def _one_of(enum: type[StrEnum]) -> Callable[[object], StrEnum]:
    def read(value: object) -> StrEnum:
        if (text := _text(value).lower()) not in set(enum):
            raise ShapeError
        return enum(text)

    return read


def choice(enum: type[StrEnum]) -> Shape:
    """Return the shape of a value of an enum."""
    return Shape("one of " + ", ".join(enum), _one_of(enum))


def seconds(most: int) -> Shape:
    """Return the shape of a time above 0 and up to ``most`` seconds."""
    return Shape(f"a number of seconds above 0 and up to {most}", _seconds(most))


def seconds_or_none(most: int) -> Shape:
    """Return the shape of a time up to ``most`` seconds; 0 switches its purpose off."""

    def read(value: object) -> float:
        number = _number(value)
        if not 0 <= number <= most:
            raise ShapeError
        return number

    return Shape(f"a number of seconds up to {most}, or 0", read)


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@-]*"

BOOLEAN = Shape("true or false", _boolean)
GPUS = Shape("auto, true, false, or a number of cards from 1 to 64", _gpus)
INTERVAL = Shape("a number of seconds from 1 to 86400", _seconds(86400, least=1))
FEW = Shape("a whole number from 1 to 20", _whole(1, 20))
COUNT = Shape("a whole number, 1 or more", _whole(1, 1_000_000))
PER_CENT = Shape("a whole number from 0 to 100", _whole(0, 100))
MIB_OR_NONE = Shape("a whole number of MiB, 10 or more, or 0", _whole_or_none(10, 1_000_000))
PORT = Shape("a port from 1 to 65535", _whole(1, 65535))
TEXT = Shape("one line of text", _text)
COMMAND = Shape("one line of text", _text, shown=False)
TEXTS = Shape("a list of texts", _list_of(_text))
TAGS = Shape("a list of tags without spaces", _list_of(_matching(r"[^\s,]+")))
HOST = Shape("a host's name or address", _host)
HOSTS_AND_PORTS = Shape("a list of host:port", _list_of(_host_and_port))
USER = Shape("a user's name", _matching(_NAME))
CONTAINER = Shape("a container's name", _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*"))
UNIT = Shape("a unit such as ollama.service", _matching(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*\.service"))
PATH = Shape("an absolute path", _matching(r"/.*"))
URL = Shape("http:// or https://, a host, and a port and path prefix if need be", _url, shown=False)
ENDPOINTS = Shape("a list of http:// or https:// URLs of etcd", _list_of(_endpoint))
SECRET_URL = Shape("an http:// or https:// URL, or @/path of a file that holds one", _secret_url, shown=False)
HEADERS = Shape("a mapping of header names to values", _headers, shown=False)
PLAYBOOKS = Shape("a mapping of causes, or last, to files", _playbooks)
MAC = Shape("a network card's address such as aa:bb:cc:dd:ee:ff", _mac)
MODEL_PORTS = Shape("a mapping of models to ports, or 0", _model_ports)
