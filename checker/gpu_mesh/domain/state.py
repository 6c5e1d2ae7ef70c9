"""What is remembered between ticks: the shape of state.json. Values only; state_file.py reads and writes it.

Times are Unix seconds; 0.0 means never.
"""

from enum import StrEnum

from msgspec import Struct, field

from gpu_mesh.domain.causes import CAUSES, Action, Cause, Verdict

SCHEMA = 1


class Status(StrEnum):
    """What a node is said to be."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    OFFLINE = "offline"

    @property
    def icon(self) -> str:
        """The sign shown beside it."""
        return {"unknown": "⚪", "healthy": "🟢", "degraded": "🟡", "unhealthy": "🔴", "offline": "⚫"}[
            self.value
        ]


class Level(StrEnum):
    """How urgent an alert is; the values are the tags of an Apprise configuration."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def icon(self) -> str:
        """The sign shown beside it."""
        return {"info": "ℹ️", "warning": "⚠️", "error": "❌", "critical": "🚨"}[self.value]


class AlertKind(StrEnum):
    """What an alert tells of."""

    STATUS = "status"
    RECOVERY = "recovery"
    MONITOR = "monitor"
    TEST = "test"


class Progress(StrEnum):
    """How far the delivery of an alert to one URL has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    MERGED = "merged"  # into a newer one of the node, which was delivered or given up
    GIVEN_UP = "given_up"


class Delivery(Struct, frozen=True):
    """One alert's way to one URL."""

    progress: Progress = Progress.PENDING
    attempts: int = 0
    next_at: float = 0.0
    error: str = ""  # of the last attempt, without secrets


class Alert(Struct, frozen=True, omit_defaults=True):
    """A message to people: the facts from which each service's text is rendered."""

    id: int
    at: float
    level: Level
    kind: AlertKind
    text: str  # what happened, one line
    node: str = ""  # key; "": the mesh or the monitor itself
    name: str = ""
    next_step: str = ""
    tried: str = ""  # what recovery did about it and found, one line
    status: Status | None = None
    previous: Status | None = None
    cause: Cause | None = None
    since: float = 0.0  # when the incident opened
    tags: tuple[str, ...] = ()  # the node's own: alert_tags, groups, key
    deliveries: dict[str, Delivery] = {}  # by hash of the URL
    done: bool = False  # nothing is left to deliver
    muted: bool = False  # it was not to be sent, and stands in the history alone


class Outcome(StrEnum):
    """How a recovery ended."""

    RECOVERED = "recovered"  # a fresh probe was ok
    NOT_RECOVERED = "not_recovered"  # the playbook went through, the node still fails
    FAILED = "failed"  # the playbook failed
    DECLINED = "declined"  # the look on the host said that the action would not help
    LOST = "lost"  # claimed, but the process died before it could say more


class Attempt(Struct, frozen=True):
    """One finished recovery of the current incident."""

    at: float
    action: Action
    outcome: Outcome
    finding: str = ""
    words: str = ""  # what was found and done, for people
    cause: Cause | None = None  # for which it was made
    playbook: str = ""  # the operator's own
    called: bool = False  # a person was called after it

    @property
    def for_impairment(self) -> bool:
        """Whether the node served, but not as it should, when it was made."""
        return self.cause is not None and CAUSES[self.cause].verdict is Verdict.IMPAIRED


class Claim(Struct, frozen=True):
    """A recovery under way: nobody else starts one for the node until it expires."""

    at: float
    until: float
    pid: int
    action: Action
    playbook: str = ""  # the operator's own


class Brake(Struct, frozen=True):
    """So many nodes fail at once that repairing each would hide what they share: nothing is repaired."""

    since: float
    released: bool = False  # a person has said that repairs go on all the same
    told_at: float = 0.0  # when people were last told of it; 0.0: not yet


class Hold(StrEnum):
    """Why people are not told of a node now."""

    SILENCE = "silence"  # or a maintenance window
    DEPENDENCY = "dependency"  # another node's failure explains its own
    MESH = "mesh"  # so many fail that one alert has told of them all
    GRACE = "grace"  # it is new, and was never healthy yet


class Told(Struct, frozen=True):
    """What people were last told of a node; they have not been told since that it is healthy."""

    at: float
    status: Status
    verdict: Verdict
    since: float  # when the trouble began
    flapping: bool = False
    behind: tuple[str, ...] = ()  # the nodes that it was told to explain


class NodeState(Struct, omit_defaults=True, frozen=True):
    """What is remembered of one node."""

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
    told: Told | None = None  # None: people take it for healthy
    held: Hold | None = None  # why they are told nothing else now
    held_by: str = ""  # the node that explains its failure
    turns: int = 0  # bit n: the check n before the last failed where the one before served, or the reverse
    flapping: bool = False
    first_check: float = 0.0
    last_check: float = 0.0
    last_ok: float = 0.0
    response_ms: float | None = None  # of the last answered check
    usual_ms: float = 0.0  # running mean
    checks: int = 0  # counted, since first seen
    successes: int = 0  # of these, ok or impaired
    score_weight: float = 0.0
    score_value: float = 0.0
    hour: int = 0  # Unix time // 3600 of the newest of the hourly counters
    hourly_checks: tuple[int, ...] = ()  # 24, index = hour % 24
    hourly_successes: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    had_models: int = 0  # the last count that was not 0
    loaded: tuple[str, ...] = ()
    loading_since: float = 0.0
    expiries: dict[str, float] = {}  # when each loaded model goes, by the node's clock
    deep_at: float = 0.0  # when a loaded model last gave a sign of life, or was asked for one
    version: str = ""
    version_at: float = 0.0
    claim: Claim | None = None
    attempts: tuple[Attempt, ...] = ()  # of the current incident, and lately (diagnosis/status.py)
    called_at: float = 0.0  # when a person was called in this incident; 0.0: not yet


class Tick(Struct, frozen=True):
    """The last completed check of the whole mesh."""

    at: float = 0.0
    seconds: float = 0.0
    interval: float = 30.0


class Silence(Struct, frozen=True, omit_defaults=True):
    """A person mutes alerts, with an end. Nodes and groups together say whose; neither: everybody's."""

    id: int
    at: float
    until: float
    reason: str
    author: str
    nodes: tuple[str, ...] = ()  # keys
    groups: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()  # (): all
    no_recovery: bool = False  # recovery leaves these nodes alone, whatever the levels


class FailedUnit(Struct, frozen=True):
    """A unit of the monitor's own that failed, or did within the hour."""

    since: float  # when it first failed
    at: float  # of the newest failure that was noted
    alerted_at: float = 0.0  # of the newest alert that it failed
    failing: bool = True  # not yet seen to work since
    told: bool = False  # whether an alert was about this failure, not about one before it
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
    offline_told_at: float = 0.0  # when people were last told of that; 0.0: not yet
    brake: Brake | None = None
    unprobed: int = 0  # how many nodes the monitor itself could not probe in the last check
    inventory_error: str = ""  # why the inventory's newest edit is not in force
    failed_units: dict[str, FailedUnit] = field(default_factory=dict)  # by the unit's whole name

    @property
    def recovery_held(self) -> bool:
        """Whether so many nodes fail at once that nothing is repaired."""
        return self.brake is not None and not self.brake.released
