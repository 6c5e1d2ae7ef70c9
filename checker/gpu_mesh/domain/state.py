"""What is remembered between ticks: the shape of state.json. Values only; state_file.py reads and writes it.

Times are Unix seconds; 0.0 means never.
"""

from msgspec import Struct, field

from gpu_mesh.domain.alert import Alert, Muted, Notified, Silence
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.recovery import Attempt, Brake, Claim

SCHEMA = 1


class NodeStatistics(Struct, frozen=True):
    """A node's running numbers (diagnosis/uptime.py)."""

    checks: int = 0  # counted, since first seen
    successes: int = 0  # of these, ok or impaired
    score_weight: float = 0.0
    score_value: float = 0.0
    hour: int = 0  # Unix time // 3600 of the newest of the hourly counters
    hourly_checks: tuple[int, ...] = ()  # 24, index = hour % 24
    hourly_successes: tuple[int, ...] = ()
    usual_ms: float = 0.0  # running mean of the response time


class NodeAlerting(Struct, frozen=True):
    """What people know of a node, and why they hear no more of it now."""

    notified: Notified | None = field(default=None, name="told")  # None: people take it for healthy
    muted_for: Muted | None = field(default=None, name="held")  # None: its alerts are sent
    inhibited_by: str = field(default="", name="held_by")  # the node whose failure explains its own
    turns: int = 0  # bit n: the check n before the last failed where the one before served, or the reverse
    flapping: bool = False


class NodeRecovery(Struct, frozen=True):
    """What is done about a node."""

    claim: Claim | None = None
    attempts: tuple[Attempt, ...] = ()  # of the current incident, and lately (diagnosis/status.py)
    called_at: float = 0.0  # when a person was called in this incident; 0.0: not yet


class NodeState(Struct, frozen=True):
    """What is remembered of one node. On disk its three parts lie flat (storage/stored.py)."""

    status: Status = Status.UNKNOWN
    since: float = 0.0  # of the status
    verdict: Verdict | None = None
    cause: Cause | None = None
    refined_from: Cause | None = None  # what a probe alone calls the cause that a look has made precise
    detail: str = ""
    cause_since: float = 0.0  # of what a probe alone calls the cause
    failures: int = 0  # consecutive
    failing_since: float = 0.0  # of the first of these
    served: int = 0  # consecutive checks that were ok or impaired
    impaired: int = 0  # consecutive
    incident_since: float = 0.0  # 0.0: none open
    first_check: float = 0.0
    last_check: float = 0.0
    last_ok: float = 0.0
    response_ms: float | None = None  # of the last answered check
    models: tuple[str, ...] = ()
    had_models: int = 0  # the last count that was not 0
    loaded: tuple[str, ...] = ()
    loading_since: float = 0.0
    expiries: dict[str, float] = {}  # when each loaded model is unloaded, by the node's clock
    deep_at: float = 0.0  # when a loaded model last answered a deep check or a request, or was asked
    version: str = ""
    version_at: float = 0.0
    statistics: NodeStatistics = NodeStatistics()
    alerting: NodeAlerting = NodeAlerting()
    recovery: NodeRecovery = NodeRecovery()

    @property
    def probed_cause(self) -> Cause | None:
        """The cause as a probe alone names it, though a look may have made it precise."""
        return self.refined_from or self.cause


class Tick(Struct, frozen=True):
    """The last completed check of the whole mesh."""

    at: float = 0.0
    seconds: float = 0.0
    interval: float = 30.0


class FailedUnit(Struct, frozen=True):
    """A unit of the monitor's own that failed, or did within the hour."""

    since: float  # when it first failed
    at: float  # of the newest failure that was noted
    alerted_at: float = 0.0  # of the newest alert that it failed
    failing: bool = True  # not yet seen to work since
    notified: bool = field(
        default=False, name="told"
    )  # whether an alert was about this failure, not about one before it
    user: bool = False  # of the user's own systemd


class State(Struct, omit_defaults=False):
    """Everything that is kept between runs."""

    schema: int = SCHEMA
    tick: Tick = Tick()
    nodes: dict[str, NodeState] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
    next_alert: int = 1
    silences: tuple[Silence, ...] = ()
    next_silence: int = 1
    canaries: dict[str, str] = field(default_factory=dict)  # the boot in which each last answered
    offline_since: float = 0.0  # since when the monitor's own network is gone
    offline_notified_at: float = field(
        default=0.0, name="offline_told_at"
    )  # when people were last told of that; 0.0: not yet
    brake: Brake | None = None
    unprobed: int = 0  # how many nodes the monitor itself could not probe in the last check
    inventory_error: str = ""  # why the inventory's newest edit is not in force
    failed_units: dict[str, FailedUnit] = field(default_factory=dict)  # by the unit's whole name

    def node(self, key: str) -> NodeState:
        """Return what is remembered of a node; of one that was never checked, the defaults."""
        return self.nodes.get(key, _NEVER_CHECKED)

    @property
    def recovery_held(self) -> bool:
        """Whether so many nodes fail at once that nothing is repaired."""
        return self.brake is not None and not self.brake.released


_NEVER_CHECKED = NodeState()
