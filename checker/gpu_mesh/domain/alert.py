"""A message to people, its way to each URL, and what keeps people from being told. Values only."""

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


class Muted(StrEnum):
    """Why people are not told of a node now."""

    SILENCE = "silence"  # or a maintenance window
    DEPENDENCY = "dependency"  # another node's failure explains its own
    MESH = "mesh"  # so many fail that one alert has told of them all
    GRACE = "grace"  # it is new, and was never healthy yet


class Notified(Struct, frozen=True):
    """What people were last told of a node; they have not been told since that it is healthy."""

    at: float
    status: Status
    verdict: Verdict
    since: float  # when the trouble began
    flapping: bool = False
    inhibits: tuple[str, ...] = field(default=(), name="behind")  # the nodes that it was named to explain


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
