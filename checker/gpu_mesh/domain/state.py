"""Defines what is remembered between ticks: the state, which storage/state_file.py saves. Values only.

Times are Unix seconds; 0.0 means never.
"""

from msgspec import Struct, field
from msgspec.structs import replace

from gpu_mesh.domain.alert import Acknowledgement, Alert, Alertmanager, Muted, Notified, Silence
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.gpu import NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.observation import LoadedModel, expiries
from gpu_mesh.domain.recovery import Attempt, Brake, Claim, Drain, Outcome, Reboot

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
    impaired_checks: int = 0  # of the successes; those before a version that counts them are not in it


class NodeAlerting(Struct, frozen=True):
    """What the alerts about a node have said, and why they are muted now."""

    notified: Notified | None = field(default=None, name="told")  # None: nothing, or that it is healthy
    muted_for: Muted | None = field(default=None, name="held")  # None: its alerts are sent
    inhibited_by: str = field(default="", name="held_by")  # the node whose failure explains its own
    turns: int = 0  # bit n: whether the check n before the last was a turn (diagnosis/flapping.py)
    flapping: bool = False
    acknowledged: Acknowledgement | None = None  # of this incident
    without_gpu: bool = False  # it was alerted that models run on the CPU where none was ever in VRAM


class NodeRecovery(Struct, frozen=True):
    """The recoveries of a node."""

    claim: Claim | None = None
    attempts: tuple[Attempt, ...] = ()  # of the current incident, and recent ones (diagnosis/status.py)
    called_at: float = 0.0  # when a person was called in this incident; 0.0: not yet
    reboot: Reboot | None = None  # of the node's host, for this node or another one there
    recoveries: dict[str, dict[Outcome, int]] = {}  # all since first seen, by playbook and outcome at the end
    drain: Drain | None = None  # planning/drains.py says whether it still counts


class DeepChecked(Struct, frozen=True):
    """What the last deep check of a loaded model left. Times are by the node's clock."""

    until: float  # the expiry that the last use of somebody else had left
    left: float = 0.0  # the expiry that the deep check left; 0.0: the model was not listed since
    ahead: float = 0.0  # seconds by which the node's clock was ahead of the monitor's


class NodeState(Struct, frozen=True):
    """What is remembered of one node. On disk its three parts lie flat (storage/stored.py)."""

    status: Status = Status.UNKNOWN
    since: float = 0.0  # of the status
    verdict: Verdict | None = None
    cause: Cause | None = None
    refined_from: Cause | None = None  # the probed cause, if a look has refined ``cause``
    detail: str = ""
    cause_since: float = 0.0  # of the probed cause
    failures: int = 0  # consecutive
    failing_since: float = 0.0  # of the first of these
    served: int = 0  # consecutive checks that were ok or impaired
    impaired: int = 0  # consecutive
    incident_since: float = 0.0  # 0.0: none open
    last_incident: float = 0.0  # when the newest incident that is over began
    first_check: float = 0.0
    last_check: float = 0.0
    last_ok: float = 0.0
    response_ms: float | None = None  # of the last answered check
    models: tuple[str, ...] = ()
    had_models: int = 0  # the last count that was not 0
    cloud_models: tuple[str, ...] = ()  # run elsewhere: none of ``models``
    loaded: tuple[LoadedModel, ...] = ()
    loading_since: float = 0.0
    vram: dict[str, float] = {}  # of models by canonical name: the largest share seen in VRAM, 0 to 1
    cpu_only: bool = False  # models were loaded, and none was ever seen in VRAM
    deep_checked: dict[str, DeepChecked] = {}  # of loaded models that nobody has used since, by name
    deep_reloads: dict[str, float] = {}  # by canonical name: when a deep check loaded it anew; 0.0: never
    deep_at: float = 0.0  # when a loaded model last answered a deep check or a request, or was asked
    version: str = ""
    version_at: float = 0.0
    gpu: NodeGpu | None = None  # None: nobody has looked at its GPUs
    gpu_looked_at: float = 0.0  # when somebody last looked, or tried to
    asleep_since: float = 0.0  # since when it sleeps; 0.0: it is awake, or may not sleep
    woken_at: float = 0.0  # when it was woken, if it has not answered since
    statistics: NodeStatistics = NodeStatistics()
    alerting: NodeAlerting = NodeAlerting()
    recovery: NodeRecovery = NodeRecovery()

    @property
    def probed_cause(self) -> Cause | None:
        """The cause as the probe named it, even if a look has refined it."""
        return self.refined_from or self.cause

    @property
    def serves(self) -> bool:
        """Whether it answers requests, though something may be wrong with it."""
        if self.status is Status.HEALTHY:
            return True
        return self.status is Status.DEGRADED and self.verdict in (Verdict.OK, Verdict.IMPAIRED)

    @property
    def expiries(self) -> dict[str, float]:
        """When each loaded model is unloaded, by the node's clock; made anew at each use."""
        return expiries(self.loaded)

    def unjudged(self) -> "NodeState":
        """Return it without what checks have judged: nobody knows how the node is, and no incident is open.

        Its figures, its models and its attempts stay.
        """
        return replace(
            self,
            status=Status.UNKNOWN,
            verdict=None,
            cause=None,
            refined_from=None,
            detail="",
            cause_since=0.0,
            failures=0,
            failing_since=0.0,
            served=0,
            impaired=0,
            incident_since=0.0,
            loading_since=0.0,
            recovery=replace(self.recovery, called_at=0.0),
        )


class ClockReading(Struct, frozen=True):
    """How two clocks stood: the wall clock, which can be set, and the one that counts since boot."""

    boot: str = ""  # identifies the boot; "": not known
    ahead: float = 0.0  # wall clock less seconds since boot (suspended ones count)


class Tick(Struct, frozen=True):
    """The last completed check of the whole mesh."""

    at: float = 0.0
    seconds: float = 0.0
    interval: float = 30.0
    # Seconds for which only people or cron have made checks; 0.0: a timer or gpu-mesh run made it.
    by_hand: float = 0.0
    clock: ClockReading = ClockReading()
    overran: int = 0  # checks in a row, up to this one, that took longer than the interval; not those by hand

    @property
    def too_slow(self) -> bool:
        """Whether the checks do not keep to the interval.

        One slow check says nothing: the first of many nodes asks each of them for everything, and a machine
        may stand still once. Two in a row follow each other later than somebody asked for.
        """
        return self.overran >= 2


class FailedUnit(Struct, frozen=True):
    """A unit of the monitor's own that fails, or failed within the last hour."""

    since: float  # of its first failure
    at: float  # of its newest failure
    alerted_at: float = 0.0  # of the newest alert about a failure
    failing: bool = True  # it has not worked again since
    notified: bool = field(default=False, name="told")  # whether this failure was alerted, not an earlier one
    user: bool = False  # a unit of the user's own systemd


class Missing(Struct, frozen=True):
    """A monitor that does not live, though the inventory names it."""

    since: float  # Unix seconds
    notified: bool = False


class Shared(Struct, frozen=True):
    """How a monitor's copy of the state stands to the one that several monitors share."""

    write: str = ""  # identifies the newest write of the shared one that is in it; "": there was none
    writes: int = 0  # how many there were until then, since the cluster began
    cluster: str = ""  # identifies the cluster, from its first write on
    leader: str = ""  # the monitor that made the last check
    as_of: float = 0.0  # when this copy was last the same as the shared one; 0.0: not known
    apart_since: float = 0.0  # since when this copy has changed without the shared one; 0.0: it has not
    apart_for: str = ""  # why
    refused: bool = False  # etcd answers, but does not take the state
    away_notified: bool = False  # people were alerted that etcd is away
    missing: dict[str, Missing] = {}  # by the monitor's name


class State(Struct, omit_defaults=False):
    """Everything that is kept between runs."""

    schema: int = SCHEMA
    tick: Tick = Tick()
    nodes: dict[str, NodeState] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)  # the oldest first
    next_alert: int = 1
    silences: tuple[Silence, ...] = ()
    next_silence: int = 1
    canaries: dict[str, str] = field(default_factory=dict)  # the boot in which each was last reachable
    offline_since: float = 0.0  # since when the monitor's own network is gone; 0.0: it is not
    offline_notified_at: float = field(default=0.0, name="offline_told_at")  # when that was last alerted
    brake: Brake | None = None
    unprobed: int = 0  # nodes that the monitor itself could not probe in the last check
    inventory_error: str = ""  # why the newest edit of the inventory is not in force
    history_error: str = ""  # what was alerted of a history that is not written; "": it is
    urls: int | None = None  # how many URLs alerts can go to; None: not known
    urls_of: str = ""  # what the file of URLs was then: its path, time and size
    failed_units: dict[str, FailedUnit] = field(default_factory=dict)  # by the unit's full name
    alertmanagers: dict[str, Alertmanager] = field(default_factory=dict)  # by hash of the URL
    shared: Shared | None = None  # None: a monitor without others

    def node(self, key: str) -> NodeState:
        """Return a node's state; the defaults if it was never checked."""
        return self.nodes.get(key, _NEVER_CHECKED)

    @property
    def recovery_held(self) -> bool:
        """Whether so many nodes fail at once that nothing is repaired."""
        return self.brake is not None and not self.brake.released


_NEVER_CHECKED = NodeState()
