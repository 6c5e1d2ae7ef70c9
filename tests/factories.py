"""Builders that several tests share: nodes, what is seen and known of them, alerts, stories of a mesh."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.delivery import outbox
from gpu_mesh.delivery.outbox import Target
from gpu_mesh.domain.alert import Alert, AlertKind, Level, Silence
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import GpuExpectation, GpuRule, Mesh, Node, RecoveryKind, Settings, Tunnel
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.monitor import tick
from gpu_mesh.silences import silences
from gpu_mesh.storage.rebase import rebase

NOW = 1_800_000_000.0
EVERY = 30.0  # seconds between two checks of a story

# Nodes.


EXPECTS_GPU = GpuExpectation(GpuRule.EXPECTED, 1)


def plain(key: str, **fields: Any) -> Node:
    """Return a node whose name is its key in capitals, at a host of that name.

    Its first failed check is alerted, and a model on the CPU is a fault from the first check on, so that
    stories are short. What the default waits for is told in tests/unit/stories/test_first_failure.py.
    """
    named = {"key": key, "name": key.upper(), "url": f"http://{key}:11434"}
    return Node(**{**named, "warn_after": 1, "expects_gpu": EXPECTS_GPU, **fields})


def behind(key: str, port: int, host: str = "pod.example.net", **fields: Any) -> Node:
    """Return a node behind a tunnel with this local port."""
    return plain(key, url=f"http://127.0.0.1:{port}", tunnel=Tunnel(host, port), **fields)


GPU1 = plain("gpu1", name="GPU one")
POD = behind("pod", 8080, name="Pod")


def served_here(port: int, recovery: RecoveryKind = RecoveryKind.COMMAND, **fields: Any) -> Node:
    """Return a node that is served at a port of this machine, to be recovered for real."""
    return replace(GPU1, url=f"http://127.0.0.1:{port}", on_monitor=True, recovery=recovery, **fields)


# What a probe sees.

OK = Reply(status=200, ms=40)


def answers(key: str, at: float, *loaded: LoadedModel, **fields: Any) -> Observation:
    """Return what is seen of a node that serves one model, and has these in memory."""
    return Observation(
        **{"node": key, "at": at, "tags": OK, "models": ("a",), "ps": OK, "loaded": loaded, **fields}
    )


def fails(key: str, at: float, fault: Fault = Fault.READ_TIMEOUT) -> Observation:
    """Return what is seen of a node that does not serve."""
    return Observation(key, at, Reply(fault, ms=10_000))


LOADED_ON_CPU = LoadedModel("a", size=100, size_vram=0)

# What is known.


def refusing(since: float = NOW - 90, **fields: Any) -> NodeState:
    """Return what is known of a node that has refused every connection since then, and is unhealthy."""
    return replace(
        NodeState(
            status=Status.UNHEALTHY,
            verdict=Verdict.FAILED,
            cause=Cause.REFUSED,
            detail="Connection refused",
            failures=3,
            incident_since=since,
        ),
        **fields,
    )


# Alerts.

NOON = 1_750_161_600.0  # 2025-06-17 12:00:00 UTC
ALERT = Alert(
    id=7,
    at=NOON,
    level=Level.ERROR,
    kind=AlertKind.STATUS,
    text="3 failures in a row: Timeout (10s)",
    node="vengeance",
    name="Vengeance",
    next_step="see whether Ollama hangs: sudo journalctl -u ollama.service on vengeance",
    tried="restarted ollama.service twice: it hung again",
    status=Status.UNHEALTHY,
    previous=Status.DEGRADED,
    cause=Cause.TIMEOUT,
    since=NOON - 90,
)
_RAISED = {
    "w": (Level.WARNING, Status.DEGRADED),
    "e": (Level.ERROR, Status.UNHEALTHY),
    "c": (Level.CRITICAL, Status.OFFLINE),
    "i": (Level.INFO, Status.HEALTHY),
}


def raised(story: str, key: str = "gpu1") -> list[Alert]:
    """Return a node's alerts: w, e, c, i of its status, upper case of recoveries that did not help."""
    found = []
    for number, letter in enumerate(story, start=1):
        level, status = _RAISED[letter.lower()]
        kind = AlertKind.RECOVERY if letter.isupper() else AlertKind.STATUS
        text = f"repair {number} failed" if letter.isupper() else status.value
        found.append(Alert(number, 60.0 * number, level, kind, text, key, status=status))
    return found


def send(state: State, target: Target, reason: str, now: float, known: Sequence[Target] = ()) -> list[int]:
    """Send one of the targets what is due; return the alerts' numbers. The reason is why it fails, or ""."""
    sent = []
    for due in outbox.due(state.alerts, [target], now).get(target.id, ()):
        sent += due.numbers
        outbox.begin(state, due, target, now)
        outbox.record_outcome(state, due, target.id, reason, known or (target,), now, whole=True)
    return sent


# Stories of a mesh: what its nodes do, and what people are told of that.

_SHOWN = {
    "x": Fault.READ_TIMEOUT,
    "r": Fault.REFUSED,
    "d": Fault.REFUSED,  # of a tunnel: its port is closed
    "z": Fault.NO_ROUTE,
}


def seen(key: str, what: str, at: float) -> Observation:
    """Return what a letter of a story stands for: . all is well, c a model on the CPU, x r d z failures."""
    if what in _SHOWN:
        return fails(key, at, _SHOWN[what])
    return answers(key, at, *([LOADED_ON_CPU] if what == "c" else []))


class Story:
    """A mesh that is checked again and again, and what was told when."""

    def __init__(self, *nodes: Node, **settings: Any) -> None:
        self.mesh = Mesh(nodes, Settings(**settings))
        self.state = State()
        self.check = 0
        self.scheduled = True
        self.notified: list[str] = []

    @property
    def now(self) -> float:
        return NOW + EVERY * self.check

    def goes(self, **shown: str) -> list[str]:
        """Check once for each letter; return what was told meanwhile, each with its check's number."""
        begin = len(self.notified)
        for number in range(max(map(len, shown.values()))):
            self.check += 1
            sight = tick.MeshObservation(
                {key: seen(key, what[number], self.now) for key, what in shown.items()},
                scheduled=self.scheduled,
            )
            rebase(self.state, self.now)  # as whoever reads the state file does
            first = self.state.next_alert
            tick.apply(self.state, self.mesh, sight, self.now, self.now)
            self.notified += [
                f"{self.check} {alerts.one_line(alert).partition(' ')[2]}"
                for alert in self.state.alerts
                if alert.id >= first and not alert.muted
            ]
        return self.notified[begin:]


def muted(story: Story, until: float, *levels: Level) -> None:
    """Silence the node a of a story."""
    silence = Silence(0, story.now, until, "driver update", "anna", nodes=("a",), levels=levels)
    silences.add(story.state, silence, story.now)


def levels(told: list[str]) -> list[str]:
    """Return of each that was told the check's number, the level and the name."""
    return [line.partition(":")[0] for line in told]
