"""A small second opinion on statuses and alerts, written from the pages and apart from the program.

It covers: the status of a node (thresholds of failures and good answers, impairments), flapping, the first
warning, the level of each alert, one alert for each change and one for the end, reminders, a silence of nodes
and its end, the grace of a new node, inhibition by a parent and behind a tunnel host with the two minutes
after it, and the brake with its alert and the end of it.

It does not cover: causes and texts, recoveries and their alerts, GPUs, deep checks, acknowledgements,
maintenance windows, silences of levels or of everything, nodes that come and go, checks by hand, a monitor
that is offline, and reminders of the brake.
"""

from dataclasses import dataclass, field

LEVELS = {"healthy": "info", "degraded": "warning", "unhealthy": "error", "offline": "critical"}
REMINDER, GRACE, WINDOW, FOLLOW, IMPAIRED_CHECKS = 6 * 3600, 300, 300, 120, 3
BRAKE, SMALLEST = 0.5, 4


@dataclass
class Told:
    """What people were last told of a node that is not healthy."""

    at: float
    status: str
    shown: str
    flapping: bool


@dataclass
class Model:
    """One node. What it shows is ``ok``, ``impaired``, ``failed``, or ``tunnel``: failed, as tunnels do."""

    key: str
    unhealthy: int = 3
    offline: int = 5
    healthy: int = 1
    warn_after: int = 2
    parent: str = ""
    host: str = ""
    shown: str = ""
    status: str = "unknown"
    failures: int = 0
    served: int = 0
    impaired: int = 0
    since: float = 0.0
    failing_since: float = 0.0
    incident: float = 0.0
    first_check: float = 0.0
    was_ok: bool = False
    turns: list[bool] = field(default_factory=lambda: [False] * 20)
    flapping: bool = False
    told: Told | None = None
    muted: str = ""
    inhibited_by: str = ""

    @property
    def fails(self) -> bool:
        return self.shown in ("failed", "tunnel")

    def see(self, shown: str, now: float) -> None:
        """Walk the thresholds, and measure how often the node turns."""
        failed, before = shown in ("failed", "tunnel"), self.status
        self.turns = [bool(self.shown) and failed is not self.fails, *self.turns[:19]]
        share = sum(1.18 - 0.02 * age for age, turn in enumerate(self.turns) if turn) / 20
        self.flapping = share >= (0.25 if self.flapping else 0.30)
        self.served = 0 if failed else self.served + 1
        self.failures = self.failures + 1 if failed else 0 if self.served >= self.healthy else self.failures
        self.impaired = self.impaired + 1 if shown == "impaired" else 0
        self.failing_since = (self.failing_since or now) if self.failures else 0.0
        steps = ((self.offline, "offline"), (self.unhealthy, "unhealthy"), (1, "degraded"))
        calm = "degraded" if self.impaired else "healthy"
        self.status = next((name for least, name in steps if self.failures >= least), calm)
        self.since = self.since if self.status == before else now
        self.incident = 0.0 if self.status == "healthy" else self.incident or now
        self.first_check = self.first_check or now
        self.was_ok = self.was_ok or shown == "ok"
        self.shown = shown

    def is_new(self, now: float) -> bool:
        return not self.was_ok and not self.told and now - self.first_check < GRACE

    def due(self, now: float) -> str:
        """Return the level of the alert that is due, if nothing mutes it; "": none is."""
        told, level = self.told, LEVELS[self.status]
        if self.flapping:
            if told is None or not told.flapping:
                return "warning" if self.fails else "info" if told and self.status == "healthy" else ""
            return level if self.status == "offline" != told.status else ""
        if self.status == "healthy":
            return "info" if told else ""
        lasts = self.fails or self.impaired >= IMPAIRED_CHECKS
        if told is None:
            return level if lasts else ""
        return level if self.muted == "silence" or self._is_news(told, now, lasts=lasts) else ""

    def _is_news(self, told: Told, now: float, *, lasts: bool) -> bool:
        if told.flapping:
            return True
        if self.failures:
            changed = told.status != self.status
        else:
            changed = told.status in ("unhealthy", "offline") or (lasts and told.shown != "impaired")
        return changed or (lasts and now - told.at >= REMINDER)


class Reference:
    """A mesh, and what is told of it."""

    def __init__(self, *nodes: Model) -> None:
        self.nodes = {node.key: node for node in nodes}
        self.brake = ""  # "on", and "told" once people know of it

    def check(self, shown: dict[str, str], silenced: set[str], now: float) -> list[tuple[str, str]]:
        """Return the alerts of one check: the node, or "" for the mesh, and the level."""
        for key, what in shown.items():
            self.nodes[key].see(what, now)
        alerts, inhibited = self._brake(now), self._inhibited(silenced, now)
        for key, node in self.nodes.items():
            muted = self._muted(node, inhibited.get(key, ""), now, silenced=key in silenced)
            level = "" if muted else node.due(now)
            if level:
                alerts.append((key, level))
                told = Told(now, node.status, "failed" if node.fails else node.shown, node.flapping)
                node.told = None if level == "info" else told
            node.muted, node.inhibited_by = muted, inhibited.get(key, "") if muted == "other" else ""
        return alerts

    def _brake(self, now: float) -> list[tuple[str, str]]:
        failing, most = [node for node in self.nodes.values() if node.fails], BRAKE * len(self.nodes)
        alerts = []
        if not self.brake:
            at_once = [node for node in failing if now - node.failing_since <= WINDOW]
            self.brake = "on" if len(self.nodes) >= SMALLEST and len(at_once) > most else ""
        elif len(failing) <= most:
            alerts += [("", "info")] * (self.brake == "told")
            self.brake = ""
        if self.brake == "on" and sum(not node.is_new(now) for node in failing) > most:
            self.brake = "told"
            alerts.append(("", "critical"))
        return alerts

    def _inhibited(self, silenced: set[str], now: float) -> dict[str, str]:
        """Return the failing nodes that another one explains, each with that one."""
        failing = {key: node for key, node in self.nodes.items() if node.fails}
        behind: dict[str, list[tuple[bool, bool, float, str]]] = {}
        for key, node in failing.items():
            if node.host and node.shown == "tunnel" and node.parent not in failing:
                quiet = key in silenced or (self.brake != "told" and node.is_new(now))
                behind.setdefault(node.host, []).append((node.told is None, quiet, node.incident, key))
        found = {}
        for key, node in failing.items():
            first = min(behind[node.host])[3] if node.shown == "tunnel" and node.host in behind else ""
            other = node.parent if node.parent in failing else first if first != key else ""
            before = self.nodes.get(node.inhibited_by)
            if not other and before and not before.fails and (before.failures or now - before.since < FOLLOW):
                other = before.key
            if other:
                found[key] = other
        return found

    def _muted(self, node: Model, inhibited_by: str, now: float, *, silenced: bool) -> str:
        if node.status == "healthy" and not node.told and not node.flapping:
            return ""
        if silenced:
            return "silence"
        if node.status == "healthy":
            return ""
        first = node.told is None and not node.flapping and node.fails and node.failures < node.warn_after
        reasons = (
            (inhibited_by, "other"),
            (self.brake == "told", "mesh"),
            (node.is_new(now), "new"),
            (first, "first"),
        )
        return next((name for holds, name in reasons if holds), "")
