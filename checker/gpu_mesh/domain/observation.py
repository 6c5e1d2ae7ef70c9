"""Defines what a probe observes of one node: facts, which diagnosis/diagnose.py judges. Values only."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct


class Fault(StrEnum):
    """Why a GET gave no usable answer."""

    DNS = "dns"  # the name does not resolve, or not within the deadline
    REFUSED = "refused"  # connection refused
    NO_ROUTE = "no_route"  # host or network unreachable
    CONNECT_TIMEOUT = "connect_timeout"  # no connection within the deadline
    TLS = "tls"  # certificate expired, unknown CA, wrong name
    NO_TLS = "no_tls"  # what answers does not speak TLS
    READ_TIMEOUT = "read_timeout"  # connected, but no complete answer within the deadline
    RESET = "reset"  # connection reset
    CLOSED = "closed"  # closed without an answer, or in the middle of one
    STATUS = "status"  # an answer with an HTTP status of 400 or above
    REDIRECT = "redirect"  # a 3xx: never followed
    NOT_JSON = "not_json"  # 200, but broken JSON, HTML or a wrong shape
    UNREADABLE = (
        "unreadable"  # reading the answer raised an error: the node's fault, unless good ones do, too
    )
    TOO_LARGE = "too_large"  # more bytes than any model list has
    MONITOR = "monitor"  # the monitor's own problem (no sockets, no memory, a bug): no fact about the node
    BROKEN = "broken"  # the probe raised an error: a value of this node's, unless every probe does
    PROXY = "proxy"  # the proxy that the monitor's environment names does not let the request through
    UNUSABLE = "unusable"  # the request could not be sent: its CA or header file cannot be read


class Reply(Struct, frozen=True):
    """The result of one request."""

    fault: Fault | None = None
    status: int = 0  # HTTP status; 0: there was none
    detail: str = ""  # a few words, at most 200 characters, without control characters
    ms: float = 0.0  # from the start, with name resolution and connecting, to the last received byte


class LoadedModel(Struct, frozen=True):
    """One entry of ``GET /api/ps``. Sizes are bytes, times Unix seconds by the node's clock (0.0: none)."""

    name: str
    size: int = 0
    size_vram: int = 0
    expires_at: float = 0.0
    context_length: int = 0

    @property
    def vram_share(self) -> float:
        """The part of it that is in VRAM, from 0 to 1; 0 too for a model without a size."""
        return min(1.0, self.size_vram / self.size) if self.size else 0.0


class Observation(Struct, frozen=True):
    """What one check of one node showed."""

    node: str
    at: float  # Unix seconds at which the probe began
    tags: Reply  # GET /api/tags
    models: tuple[str, ...] = ()  # their names, without cloud models; empty if ``tags`` has a fault
    ps: Reply | None = None  # GET /api/ps; None: not requested, because ``tags`` failed
    loaded: tuple[LoadedModel, ...] = ()
    node_clock: float = 0.0  # Unix seconds in the Date header of /api/ps; 0.0: none
    version: str | None = None  # None: not requested, or no answer
    deep: Reply | None = None  # the deep check, POST /api/generate without a prompt; None: not made
    deep_model: str = ""  # the model of the deep check
    deep_loads: bool = False  # it was not answered, and the model was gone: it was being loaded anew
    deep_excused: bool = False  # it was not answered, but /api/ps showed that the node works or loads
    models_cut: bool = False  # there are more models than were read
    cloud_models: tuple[str, ...] = ()  # the names of models that run elsewhere


MOVED = 1.0
"""Seconds: an expiry that moved by less may only be due to clocks and rounding."""

_SLACK = 2.0
"""Seconds by which the time between two probes may differ from the time between their checks."""


def has_moved(
    expiries: dict[str, float], loaded: Sequence[LoadedModel], elapsed: float, slack: float = _SLACK
) -> bool:
    """Return whether a request has finished: a model that was loaded before now expires later.

    An expiry that moves as fast as the clock proves nothing: until the first request after loading has
    finished, there is no real one, and Ollama reports a time that is always the same distance away.

    Args:
        expiries: the expiries of the loaded models in the listing before, by name.
        loaded: the models as they are listed now.
        elapsed: seconds between the two listings.
        slack: the error of ``elapsed``, in seconds.
    """
    moves = [model.expires_at - expiries[model.name] for model in loaded if model.name in expiries]
    return any(move > MOVED and abs(move - elapsed) > slack for move in moves)


def expiries(loaded: Sequence[LoadedModel]) -> dict[str, float]:
    """Return when each loaded model will be unloaded: Unix seconds by the node's clock."""
    return {model.name: model.expires_at for model in loaded}
