"""Defines what several monitors of one mesh know of each other. Values only."""

from enum import Enum, StrEnum, auto

from msgspec import Struct

LEASE = 30
"""Seconds for which a monitor that is silent still counts as living, and leads if it did."""


class Role(StrEnum):
    """What a monitor does for the mesh now."""

    LEADER = "leader"  # it checks, alerts and repairs
    STANDBY = "standby"  # another one does, or nobody; this one could take over
    LEADER_ALONE = "leader_alone"  # etcd is away; this one led last, and goes on
    ALONE = "alone"  # etcd is away, and whoever led may be so, too: this one watches, and repairs nothing

    @property
    def watches(self) -> bool:
        """Whether it checks the nodes and sends their alerts."""
        return self is not Role.STANDBY

    @property
    def repairs(self) -> bool:
        """Whether it repairs nodes."""
        return self in (Role.LEADER, Role.LEADER_ALONE)


class Member(Struct, frozen=True):
    """What a living monitor says of itself, renewed every ten seconds."""

    name: str
    version: str = ""
    schema: int = 0  # of the state that it reads
    inventory: str = ""  # identifies what its inventory says of the mesh
    unfit: str = ""  # why another one should rather lead; "": nothing speaks against it
    ahead: float = 0.0  # seconds by which its clock is ahead of the others' clocks
    nodes: int = 0  # that its state knows
    not_ready: tuple[str, ...] = ()  # nodes whose tunnel does not stand on it


class Lead(Struct, frozen=True):
    """What a leader says of its leading."""

    monitor: str
    inventory: str = ""  # as in Member


class Session(Struct, frozen=True):
    """What a monitor last heard from etcd, kept until its next boot. Times are seconds since boot."""

    monitor: str
    boot: str
    lease: int = 0  # etcd's name for the monitor's lease; 0: it has none
    until: float = 0.0  # until when the lease lasts at least
    term: int = 0  # the revision in which it became leader; 0: it does not lead
    led_since: float = 0.0
    leader: str = ""  # who led when etcd last answered; "": nobody yet
    living: tuple[str, ...] = ()  # the monitors that lived then, in the order of their names
    tried: float = 0.0  # when etcd was last asked
    answered: float = 0.0  # when it last answered
    endpoint: str = ""  # which of its endpoints did
    heard_canary: float = 0.0  # when a canary last answered
    not_ready: tuple[str, ...] = ()  # nodes whose tunnel does not stand here
    tunnels_at: float = 0.0  # when the tunnels were last tried
    yields_until: float = 0.0  # until when it leaves leading to others
    yields_for: str = ""  # why

    @property
    def rank(self) -> int:
        """Its place among the monitors that lived."""
        return self.living.index(self.monitor) if self.monitor in self.living else len(self.living)


class View(Struct, frozen=True):
    """What etcd shows of the monitors."""

    leader: str = ""  # "": nobody leads
    term: int = 0  # the revision in which the leader became so
    members: tuple[Member, ...] = ()  # that live, this one among them
    last: Lead | None = None  # of the newest leader, also if it is gone; None: nobody has led yet
    has_state: bool = False  # whether a state is shared already
    schema: int = 0  # of that state


class Writer(Enum):
    """For what a change is made; it decides which monitor may make it."""

    PERSON = auto()  # asked for, or an outcome to be noted: every monitor
    WATCH = auto()  # a check or a delivery: who watches the mesh
    REPAIR = auto()  # a claim: who repairs, and only as long as no other monitor can have claimed the same
