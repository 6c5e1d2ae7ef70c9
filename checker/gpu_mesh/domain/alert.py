"""Defines alerts, their deliveries, silences, and why alerts are muted. Values only."""

from enum import StrEnum

from msgspec import Struct, field

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict


class Level(StrEnum):
    """How urgent an alert is; the values are the tags of an Apprise configuration."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place in the order of urgency, 0 for info."""
        return tuple(Level).index(self)

    @property
    def icon(self) -> str:
        """The sign shown beside it."""
        return {"info": "ℹ️", "warning": "⚠️", "error": "❌", "critical": "🚨"}[self.value]


class AlertKind(StrEnum):
    """The subject of an alert."""

    STATUS = "status"
    RECOVERY = "recovery"
    MONITOR = "monitor"
    TEST = "test"


class Progress(StrEnum):
    """The progress of an alert's delivery to one URL."""

    PENDING = "pending"
    DELIVERED = "delivered"
    MERGED = "merged"  # into a newer alert of the node, which was delivered or given up
    GIVEN_UP = "given_up"


class Delivery(Struct, frozen=True):
    """The delivery of one alert to one URL."""

    progress: Progress = Progress.PENDING
    attempts: int = 0
    next_at: float = 0.0
    error: str = ""  # of the last attempt, without secrets


class Muted(StrEnum):
    """Why a node's alerts are muted now."""

    SILENCE = "silence"  # a person's silence
    MAINTENANCE = "maintenance"  # an open maintenance window
    DEPENDENCY = "dependency"  # inhibited: another node's failure explains this one's
    MESH = "mesh"  # so many nodes fail that one alert is about all of them
    GRACE = "grace"  # the node is new, and was never healthy yet
    ACKNOWLEDGED = "acknowledged"  # a person knows of the incident
    WITHOUT_GPU = "without_gpu"  # it never had a model in VRAM, which was alerted once
    REBOOT = "reboot"  # recovery has rebooted its host, which is not expected back yet
    FIRST_FAILURE = "first_failure"  # so few checks in a row have failed that it may be a lost probe


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
    since: float = 0.0  # when the cause began; where the trouble is over, when that began
    ended: float = 0.0  # when it was over; 0.0: it is not
    ends: tuple[Level, ...] = ()  # levels of the earlier alerts whose trouble this one says is over
    tags: tuple[str, ...] = ()  # the node's own: alert_tags, groups, key
    deliveries: dict[str, Delivery] = {}  # by hash of the URL
    done: bool = False  # nothing is left to deliver
    muted: bool = False  # it is not sent, only kept in the history
    muted_for: Muted | None = None  # why; None: not known of an alert of an earlier version


class Notified(Struct, frozen=True):
    """What the last alert about a node said, as long as no alert has said that the node is healthy again."""

    at: float
    status: Status
    verdict: Verdict
    since: float  # when the problem began
    levels: tuple[Level, ...] = ()  # of all alerts since then
    flapping: bool = False
    inhibits: tuple[str, ...] = field(default=(), name="behind")  # the nodes whose failures it explains


class Acknowledgement(Struct, frozen=True):
    """A person knows of a node's incident: what is not worse than this level is not alerted until it ends."""

    at: float
    author: str
    level: Level
    reason: str = ""
    unheard: bool = False  # nobody had been alerted about the incident before, nor has been since


class Alertmanager(Struct, frozen=True, omit_defaults=True):
    """What is remembered of one Alertmanager."""

    # The labels of each alert that it was told of and that it has not accepted as resolved.
    told: tuple[dict[str, str], ...] = ()
    failing_since: float = 0.0  # of the first post in a row that it did not accept; 0.0: it accepts
    notified: bool = False  # people were alerted that it does not accept


class Silence(Struct, frozen=True, omit_defaults=True):
    """A person mutes alerts until a certain time: those of the nodes and groups; without any, all alerts."""

    id: int
    at: float
    until: float
    reason: str
    author: str
    nodes: tuple[str, ...] = ()  # keys
    groups: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()  # (): all
    no_recovery: bool = False  # these nodes get no recovery, whatever the levels
    until_healthy: bool = False  # it ends when a node that it covers has failed and all are healthy again
    failed: bool = False  # such a node has failed since
