"""Defines what is remembered of the past, which storage/history.py keeps. Values only.

Times are Unix seconds, durations seconds, response times milliseconds.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict

BOUNDS = tuple(2.0**power for power in range(2, 13))
"""The upper bounds of the classes of response times: 4 to 4,096 ms. One more class holds what is slower."""


class Sample(Struct, frozen=True):
    """What one check showed of one node."""

    node: str  # key
    at: float
    seconds: float  # for which it counts: those since the check before it
    verdict: Verdict
    cause: Cause | None = None
    ms: float | None = None  # None: it did not answer


class Period(Struct, frozen=True):
    """A node over some time: an hour, a day, or as long as somebody asks about.

    What nobody watched counts neither as up nor as down.
    """

    node: str  # key
    at: float  # its beginning; of a day: midnight in UTC
    seconds: float  # its length
    watched: float = 0.0  # seconds in which checks were made and counted
    down: float = 0.0  # of these, in which checks failed
    impaired: float = 0.0  # of these, in which it served, but not well
    answers: int = 0
    ms_sum: float = 0.0  # of all answers
    ms_max: float = 0.0
    histogram: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)  # answers by class of BOUNDS


class Incident(Struct, frozen=True):
    """A time in which a node was not healthy."""

    node: str  # key
    began: float
    ended: float | None  # None: it lasts
    cause: Cause | None  # the last one that was named
    worst: Status
    detail: str  # the last one: the cause in words, with its figures
    alerted: float | None = None  # when the first alert about it was raised
    repairs: int = 0  # attempts that acted
    mended: str = ""  # the repair after which it served, in words; "": no repair was proved to help


class EventKind(StrEnum):
    """What kind of event it is."""

    STATUS = "status"  # a node's status changed
    ALERT = "alert"
    REPAIR = "repair"
    SILENCE = "silence"
    DRAIN = "drain"  # a node takes no new requests for a while
    INVENTORY = "inventory"  # a node came or went


class PastEvent(Struct, frozen=True):
    """Something that happened."""

    at: float
    kind: EventKind
    node: str  # key; "": it is about the monitor or the whole mesh
    words: str  # one line, for people


class GpuSample(Struct, frozen=True):
    """What one look showed of one card. What the driver does not tell is None."""

    node: str  # key
    card: str  # how the reports name it
    at: float
    used: int | None = None  # bytes
    total: int | None = None  # bytes
    temperature: int | None = None  # degrees Celsius
    power: float | None = None  # watts
    busy: int | None = None  # per cent
    throttled: bool = False


RECENT = 1800.0
"""Seconds after an incident's end in which a repair may still turn out to have mended it.

A check may see that the node serves before the repair has been proved.
"""


class Unwritten(Struct, frozen=True):
    """Why the newest check could not be written into the history."""

    since: float  # of the first check that could not
    reason: str
    next_step: str
    damaged: bool = False  # the file was, and has been set aside: the next check begins a new one


class Known(Struct, frozen=True):
    """What the history has already, as far as the next check must know it."""

    at: float = 0.0  # when it was last written; 0.0: never
    alert: int = 0  # the id of the newest alert in it
    silence: int = 0  # the same of silences
    nodes: Mapping[str, Status] = {}  # by key: what was watched then, and its status
    lasting: tuple[Incident, ...] = ()
    recent: tuple[Incident, ...] = ()  # those that ended within RECENT


class Entry(Struct, frozen=True):
    """What one check adds to the history."""

    known: Known  # as it is after it; of its incidents only those that last count
    samples: tuple[Sample, ...] = ()
    ended: tuple[Incident, ...] = ()
    events: tuple[PastEvent, ...] = ()
    gpus: tuple[GpuSample, ...] = ()
