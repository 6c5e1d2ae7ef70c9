"""Makes up what a probe of a node shows, from the words of a trace. Pure.

For simulator.py, in the place of probe/ollama.py and the real nodes. fake_recovery.py does so for repairs.
"""

from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus

from msgspec import Struct

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.simulation.fake_gpu import Gpu


class Scenario(StrEnum):
    """What a node shows a probe, in the words of a trace."""

    OK = "ok"
    WORKING = "working"  # ok, and a request has finished since the last check
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    HANG = "hang"
    RESET = "reset"
    CLOSE = "close"
    HTTP_500 = "http_500"
    HTTP_502 = "http_502"
    HTTP_503 = "http_503"
    HTTP_401 = "http_401"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_429 = "http_429"
    HTML = "html"
    REDIRECT = "redirect"
    HUGE = "huge"
    DNS = "dns"
    TLS = "tls"
    NO_TLS = "no_tls"
    NO_ROUTE = "no_route"
    PROXY = "proxy"
    UNUSABLE = "unusable"
    MONITOR = "monitor"
    SLOW = "slow"
    SLOW_PS = "slow_ps"
    NO_MODELS = "no_models"
    CPU = "cpu"
    STUCK_STOPPING = "stuck_stopping"
    HUNG_RUNNER = "hung_runner"
    AT_WORK = "at_work"  # a loaded model does not answer the deep check, but the node shows that it works
    BUSY = "busy"


MEANING = {
    Scenario.OK: "It answers, and a model is loaded but idle",
    Scenario.WORKING: "It answers, and a request has finished since the last check",
    Scenario.REFUSED: "Connection refused; behind a tunnel: its local port is closed",
    Scenario.CONNECT_TIMEOUT: "Nobody accepts within the deadline",
    Scenario.HANG: "The connection is accepted, but no answer comes",
    Scenario.RESET: "The connection is reset",
    Scenario.CLOSE: "The connection is closed without an answer",
    Scenario.HTTP_500: "HTTP 500",
    Scenario.HTTP_502: "HTTP 502",
    Scenario.HTTP_503: "HTTP 503 at /api/tags: a proxy whose backend is gone",
    Scenario.HTTP_401: "HTTP 401",
    Scenario.HTTP_403: "HTTP 403",
    Scenario.HTTP_404: "HTTP 404",
    Scenario.HTTP_429: "HTTP 429: a proxy that limits requests",
    Scenario.HTML: "A web page instead of Ollama's JSON",
    Scenario.REDIRECT: "A redirection to elsewhere",
    Scenario.HUGE: "An answer without end",
    Scenario.DNS: "The name does not resolve",
    Scenario.TLS: "The certificate has expired",
    Scenario.NO_TLS: "The port does not speak TLS",
    Scenario.NO_ROUTE: "No route to the host",
    Scenario.PROXY: "The proxy that the monitor's environment names does not let the request through",
    Scenario.UNUSABLE: "The request cannot even be sent: a CA or header file is unreadable",
    Scenario.MONITOR: "The monitor itself could not probe it: no sockets left",
    Scenario.SLOW: "It answers after 8 s",
    Scenario.SLOW_PS: "/api/ps does not answer while /api/tags does: a model is being loaded",
    Scenario.NO_MODELS: "It answers, and has no models",
    Scenario.CPU: "The loaded model is not in VRAM",
    Scenario.STUCK_STOPPING: "The loaded model should have gone ten minutes before the moment",
    Scenario.HUNG_RUNNER: "All is well but for the deep check, which gets no answer",
    Scenario.AT_WORK: "The deep check gets no answer, but the node shows itself at work meanwhile",
    Scenario.BUSY: "The deep check is answered by 503: the queue is full",
}
"""The meaning of each word; docs/simulate.md says the same."""


class Effect(StrEnum):
    """The effect of a repair, in the words of a trace."""

    HELPS = "helps"
    NOTHING = "nothing"
    FAILS = "fails"
    NO_MODELS = "no_models"
    HANGS = "hangs"


EFFECTS = {
    Effect.HELPS: "It goes through, and the node shows `ok` from then on",
    Effect.NOTHING: "It goes through, and the node shows what it showed",
    Effect.FAILS: "The playbook itself fails: Ollama or the port did not come back",
    Effect.NO_MODELS: "It goes through, and the node shows `no_models` from then on",
    Effect.HANGS: "It runs into its time limit (`recovery_timeout`)",
}
"""The meaning of each word; docs/simulate.md says the same."""


class Facts(Struct, frozen=True):
    """What is true about a node from a moment on."""

    shows: Scenario = Scenario.OK
    since: float = 0.0  # Unix seconds
    detail: str = ""  # "": the usual words
    models: tuple[str, ...] | None = None  # None: those that are expected, or one
    look: Finding | None = None  # None: what follows from ``shows``
    gpu: Gpu | None = None  # None: the host has none that a look would see
    restart: Effect = Effect.HELPS
    rebuild: Effect = Effect.HELPS
    own_playbook: Effect = Effect.HELPS
    reboot: Effect = Effect.HELPS
    gpu_repair: Effect = Effect.HELPS  # a reload of nvidia_uvm, or a reset of the card
    boots: int = 0  # how often its host was rebooted
    takes: float = 8.0  # seconds for one playbook


_FAULTS = {
    Scenario.REFUSED: (Fault.REFUSED, "connection refused"),
    Scenario.CONNECT_TIMEOUT: (Fault.CONNECT_TIMEOUT, "nobody accepted in time"),
    Scenario.HANG: (Fault.READ_TIMEOUT, "no whole answer in time"),
    Scenario.RESET: (Fault.RESET, "connection reset"),
    Scenario.CLOSE: (Fault.CLOSED, "closed without an answer"),
    Scenario.HTML: (Fault.NOT_JSON, "HTML instead of JSON"),
    Scenario.REDIRECT: (Fault.REDIRECT, "HTTP 302 Found"),
    Scenario.HUGE: (Fault.TOO_LARGE, "more bytes than any model list has"),
    Scenario.DNS: (Fault.DNS, "name or service not known"),
    Scenario.TLS: (Fault.TLS, "certificate has expired"),
    Scenario.NO_TLS: (Fault.NO_TLS, ""),
    Scenario.NO_ROUTE: (Fault.NO_ROUTE, "no route to host"),
    Scenario.PROXY: (Fault.PROXY, "127.0.0.1:3128: connection refused"),
    Scenario.UNUSABLE: (Fault.UNUSABLE, "the CA file cannot be read"),
    Scenario.MONITOR: (Fault.MONITOR, "too many open files"),
}
_WAITED = (Fault.CONNECT_TIMEOUT, Fault.READ_TIMEOUT)
_USUAL_MODEL = "llama3.2:latest"
_SIZE, _CONTEXT = 5_000_000_000, 4096
_NEVER = 4_102_444_800.0  # 2100: the model was loaded to stay
_OVERDUE = 600.0  # seconds

Choose = Callable[[tuple[LoadedModel, ...]], LoadedModel | None]


def observe(node: Node, facts: Facts, at: float, choose: Choose) -> Observation:
    """Return what a probe of the node shows.

    Args:
        node: the node.
        facts: what is true about it.
        at: Unix seconds.
        choose: chooses the loaded model for the deep check, as ``diagnosis.deep_check.choose`` does.
    """
    reply = _reply(node, facts)
    if reply.fault is not None:
        return Observation(node.key, at, reply)
    models = _models(node, facts)
    if facts.shows is Scenario.SLOW_PS:
        ps = Reply(Fault.READ_TIMEOUT, detail=facts.detail, ms=600 * node.timeout)
        return Observation(node.key, at, reply, models, ps, version="0.6.0")
    loaded = tuple(_loaded(name, facts, at) for name in models[:1])
    asked = choose(loaded)
    return Observation(
        node.key,
        at,
        reply,
        models,
        Reply(status=200, ms=1.0),
        loaded,
        node_clock=at,
        deep=_deep(node, facts) if asked else None,
        deep_model=asked.name if asked else "",
        deep_excused=asked is not None and facts.shows is Scenario.AT_WORK,
    )


def seconds(seen: Observation) -> float:
    """Return how long the probe took, in whole seconds."""
    replies = (seen.tags, seen.ps, seen.deep)
    return float(sum(reply.ms for reply in replies if reply) // 1000)


def _reply(node: Node, facts: Facts) -> Reply:
    if facts.shows in _FAULTS:
        fault, words = _FAULTS[facts.shows]
        return Reply(fault, detail=facts.detail or words, ms=1000 * node.timeout if fault in _WAITED else 1.0)
    if facts.shows.startswith("http_"):
        status = HTTPStatus(int(facts.shows.removeprefix("http_")))
        words = facts.detail or f"HTTP {status.value} {status.phrase}"
        return Reply(Fault.STATUS, status.value, words, 50.0)
    return Reply(status=200, ms=8000.0 if facts.shows is Scenario.SLOW else 50.0)


def _models(node: Node, facts: Facts) -> tuple[str, ...]:
    if facts.shows is Scenario.NO_MODELS:
        return ()
    return (node.expected_models or (_USUAL_MODEL,)) if facts.models is None else facts.models


def _loaded(name: str, facts: Facts, at: float) -> LoadedModel:
    ends = {Scenario.WORKING: at + 300.0, Scenario.STUCK_STOPPING: facts.since - _OVERDUE}
    in_vram = 0 if facts.shows is Scenario.CPU else _SIZE
    return LoadedModel(name, _SIZE, in_vram, ends.get(facts.shows, _NEVER), _CONTEXT)


def _deep(node: Node, facts: Facts) -> Reply:
    if facts.shows in (Scenario.HUNG_RUNNER, Scenario.AT_WORK):
        words = facts.detail or f"no whole answer within {0.75 * node.timeout:.3g} s"
        return Reply(Fault.READ_TIMEOUT, detail=words, ms=750 * node.timeout)
    if facts.shows is Scenario.BUSY:
        return Reply(Fault.STATUS, 503, facts.detail or "HTTP 503 Service Unavailable", 50.0)
    return Reply(status=200, ms=50.0)
