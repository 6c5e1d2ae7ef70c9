"""What probing one node showed: facts without judgement (see diagnosis/diagnose.py for that)."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct


class Fault(StrEnum):
    """Why a GET gave no usable answer."""

    DNS = "dns"  # the name does not resolve, or not within the deadline
    REFUSED = "refused"  # connection refused
    NO_ROUTE = "no_route"  # host or network unreachable
    CONNECT_TIMEOUT = "connect_timeout"  # nobody accepted within the deadline
    TLS = "tls"  # certificate expired, unknown CA, wrong name, no TLS at all
    READ_TIMEOUT = "read_timeout"  # accepted, but no whole answer within the deadline
    RESET = "reset"  # connection reset
    CLOSED = "closed"  # closed with no answer, or in the middle of one
    STATUS = "status"  # an answer with an HTTP status of 400 or above
    REDIRECT = "redirect"  # a 3xx: never followed
    NOT_JSON = "not_json"  # 200, but broken JSON, HTML or a wrong shape
    TOO_LARGE = "too_large"  # more bytes than any model list has
    MONITOR = "monitor"  # our own trouble (no sockets left, no memory, a bug): it says nothing about the node
    UNUSABLE = "unusable"  # the request could not even be sent: unreadable CA or header file


class Reply(Struct, frozen=True):
    """How one request ended."""

    fault: Fault | None = None
    status: int = 0  # HTTP status; 0: there was none
    detail: str = ""  # a few plain words, at most 200 characters, nothing in it that could act on a terminal
    ms: float = 0.0  # from the first byte sent (resolution and connect included) to the last received


class LoadedModel(Struct, frozen=True):
    """One entry of ``GET /api/ps``. Sizes are bytes, times Unix seconds by the node's clock (0.0: none)."""

    name: str
    size: int = 0
    size_vram: int = 0
    expires_at: float = 0.0
    context_length: int = 0


class Observation(Struct, frozen=True):
    """What one check of one node showed."""

    node: str
    at: float  # Unix seconds, when the probe began
    tags: Reply  # GET /api/tags
    models: tuple[str, ...] = ()  # their names; empty when ``tags`` has a fault
    ps: Reply | None = None  # GET /api/ps; None: not asked, because ``tags`` failed
    loaded: tuple[LoadedModel, ...] = ()
    node_clock: float = 0.0  # Unix seconds by the node's Date header when /api/ps answered; 0.0: not said
    version: str | None = None  # None: not asked, or no answer
    deep: Reply | None = None  # POST /api/generate without a prompt; None: not asked
    deep_model: str = ""  # the model that it asked for
    deep_excused: bool = False  # it got no answer, but /api/ps showed that the node is at work or loading


_MOVED = 1.0
"""Seconds by which a model's end must be later than before: clocks and roundings move it by less."""


_SLACK = 2.0
"""Seconds by which two probes may lie further apart, or closer together, than the checks they belong to."""


def has_moved(
    expiries: dict[str, float], loaded: Sequence[LoadedModel], elapsed: float, slack: float = _SLACK
) -> bool:
    """Tell whether a request has finished: the end of a model that was loaded before has been put off.

    An end that keeps in step with the clock proves nothing: as long as the first request after loading has
    not finished, there is none yet, and Ollama says one that is always as far away.

    Args:
        expiries: when each loaded model was to go, as the listing before said.
        loaded: the models as they are listed now.
        elapsed: seconds between the two listings.
        slack: seconds by which that may be wrong.
    """
    moves = [model.expires_at - expiries[model.name] for model in loaded if model.name in expiries]
    return any(move > _MOVED and abs(move - elapsed) > slack for move in moves)


def expiries(loaded: Sequence[LoadedModel]) -> dict[str, float]:
    """Return when each loaded model goes, Unix seconds by the node's clock."""
    return {model.name: model.expires_at for model in loaded}
