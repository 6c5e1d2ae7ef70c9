"""The values of a trace: what nodes show over time, as a person writes it down. Pure.

trace_parser.py makes a trace of a file's content; simulator.py shows what would follow.
"""

from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

from gpu_mesh.delivery.outbox import Target
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.simulation import fake_probe
from gpu_mesh.simulation.fake_gpu import Gpu
from gpu_mesh.simulation.fake_probe import Effect, Scenario

EVERYBODY = "all"
"""Means every node where a moment names nodes."""


class Seconds(float):
    """A time since the beginning of the story, or a length: written ``90s``, ``5m``, ``1h30m``, ``2d``."""


class Facts(Struct, frozen=True, forbid_unknown_fields=True):
    """What changes about a node at a moment; what is left out stays as it is (``fake_probe.Facts``)."""

    shows: Scenario | None = None  # with its usual detail and look, unless these are given too
    detail: str | None = None
    models: tuple[str, ...] | None = None
    look: Finding | None = None
    gpu: Gpu | None = None
    restart: Effect | None = None
    rebuild: Effect | None = None
    own_playbook: Effect | None = None
    reboot: Effect | None = None
    gpu_repair: Effect | None = None
    takes: Seconds | None = None


class Link(StrEnum):
    """Whether a URL takes messages."""

    WORKS = "works"
    DOWN = "down"


class Canaries(StrEnum):
    """Whether the canaries answer."""

    ANSWERING = "answering"
    SILENT = "silent"


class Power(StrEnum):
    """Whether the monitor runs at all."""

    RUNNING = "running"
    STOPPED = "stopped"


class Process(StrEnum):
    """What can be killed."""

    RECOVER = "recover"


class SilenceSpec(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A silence that a person adds, as ``gpu-mesh silence add`` does."""

    names: tuple[str, ...] = ()  # of nodes and groups; (): everything
    length: Seconds = field(name="for")
    reason: str = "a person is at work"
    levels: tuple[Level, ...] = ()
    no_recovery: bool = False
    until_healthy: bool = False


class Moment(Struct, frozen=True, forbid_unknown_fields=True):
    """What happens in the world at one time."""

    at: Seconds
    nodes: dict[str, Scenario | Facts] = {}  # by key, group, or EVERYBODY
    urls: dict[str, Link] = {}
    canaries: Canaries | None = None
    silence: SilenceSpec | None = None
    ack: tuple[str, ...] = ()  # gpu-mesh ack NODE...
    wake: str = ""  # gpu-mesh wake NODE; whether it wakes is what the trace says of it next
    monitor: Power | None = None
    dies: str = ""  # one of several monitors
    lives: str = ""  # one that had died
    kill: Process | None = None
    force: str = ""  # gpu-mesh recover NODE --force; EVERYBODY: gpu-mesh recover --force


class Expected(Struct, frozen=True, forbid_unknown_fields=True):
    """The results that the story must have; what is left out is not compared."""

    status: dict[str, Status] = {}  # of a node, at the end
    causes: dict[str, tuple[Cause, ...]] = {}  # that a node had, in the order of their first appearance
    repairs: dict[str, int] = {}  # how often something was done to a node: restarted, rebuilt, run
    calls: int | None = None  # how often a person was called
    alerts: int | None = None
    deliveries: int | None = None  # over all URLs


class Trace(Struct, frozen=True):
    """A trace without mistakes."""

    about: str
    mesh: Mesh
    targets: tuple[Target, ...]  # a URL's id is its name
    moments: tuple[Moment, ...]  # in order of time; each names nodes by key alone
    until: float  # seconds since the beginning
    expected: Expected = Expected()
    monitors: tuple[str, ...] = ()  # that share the mesh, the first leader first; (): one alone


def applied(before: fake_probe.Facts, change: Facts, now: float) -> fake_probe.Facts:
    """Return what is true about a node after a change at that Unix time."""
    after = before
    if change.shows is not None:
        after = replace(after, shows=change.shows, since=now, detail="", look=None)
    given = {name: getattr(change, name) for name in Facts.__struct_fields__ if name != "shows"}
    return replace(after, **{name: value for name, value in given.items() if value is not None})


def describe_change(change: Facts) -> str:
    """Say what changes: ``shows hang; look: answers_on_its_host; restart: nothing``."""
    parts = [f"shows {change.shows}"] if change.shows else []
    for name in Facts.__struct_fields__[1:]:
        value = getattr(change, name)
        if value is not None:
            words = ", ".join(value) if isinstance(value, tuple) else value
            words = f"{value:g} s" if isinstance(value, float) else words
            parts.append(f"{name.replace('_', ' ')}: {words or 'none'}")
    return "; ".join(parts)
