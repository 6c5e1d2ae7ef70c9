"""Decides what a person who acknowledged a node's incident is still alerted of. Pure.

An acknowledgement lasts until the node is healthy. What is no worse than what the person knew is not alerted:
changes, reminders, repairs that do not help. What is worse is alerted once, and so are that a person is
needed, and the end. Checks and repairs go on.
"""

from msgspec.structs import replace

from gpu_mesh.alerting.holds import level_of
from gpu_mesh.diagnosis import gpu_history
from gpu_mesh.domain.alert import Acknowledgement, Level, Notified
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.state import NodeState


def acknowledged(known: NodeState, author: str, reason: str, now: float) -> NodeState:
    """Return the state of a node whose incident a person knows of. An earlier acknowledgement is replaced.

    Whoever acknowledges knows of the incident, so its end is alerted even if nothing else was.

    Raises:
        ValueError: there is no incident; says why not.
    """
    if known.status is Status.HEALTHY:
        raise ValueError("it is healthy: there is nothing to acknowledge")
    if known.asleep_since:
        raise ValueError("it is asleep")
    if known.status is Status.UNKNOWN:
        raise ValueError("nothing is known of it yet: there is nothing to acknowledge")
    before = known.alerting.notified
    level = max((level_of(known), *(before.levels if before else ())), key=lambda level: level.rank)
    notified = before or Notified(
        now, known.status, known.verdict or Verdict.OK, known.incident_since, levels=(level,)
    )
    given = Acknowledgement(now, author, level, reason, unheard=before is None)
    alerting = replace(known.alerting, notified=notified, acknowledged=given)
    gpu = known.gpu
    if gpu and known.cause is Cause.GPU_ABSENT:
        # Whoever knows of it has taken the card out on purpose, or will put it back: they are counted anew.
        gpu = gpu_history.forget_cards(gpu)
    return replace(known, alerting=alerting, gpu=gpu)


def ended(known: NodeState) -> NodeState:
    """Return the state of a node whose acknowledgement a person has taken back."""
    given = known.alerting.acknowledged
    notified = None if given and given.unheard else known.alerting.notified
    return replace(known, alerting=replace(known.alerting, acknowledged=None, notified=notified))


def rests(known: NodeState, level: Level) -> bool:
    """Return whether an alert of this level is not worse than what a person has acknowledged."""
    given = known.alerting.acknowledged
    return given is not None and level.rank <= given.level.rank


def raised(known: NodeState, level: Level) -> NodeState:
    """Return the state after an alert of this level: people know of the incident, and up to that it rests."""
    given = known.alerting.acknowledged
    if given is None:
        return known
    worst = max(given.level, level, key=lambda level: level.rank)
    given = replace(given, level=worst, unheard=False)
    return replace(known, alerting=replace(known.alerting, acknowledged=given))
