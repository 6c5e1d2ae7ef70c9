"""Describes what happened in a simulated mesh: in values, in words, and as a trace expects it. Pure."""

from enum import StrEnum

from msgspec import Struct

from gpu_mesh.alerting import alerts
from gpu_mesh.alerting.merging import Notification
from gpu_mesh.delivery.wording import NAMED, headline
from gpu_mesh.domain.alert import Alert, AlertKind, Delivery, Level, Progress
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.recovery import Outcome
from gpu_mesh.domain.state import State
from gpu_mesh.planning import advice
from gpu_mesh.simulation.trace import Expected
from gpu_mesh.text.humanize import plural
from gpu_mesh.text.table import aligned

SCHEMA = 2


class Kind(StrEnum):
    """What kind of event of the story it is."""

    WORLD = "world"  # what the trace says
    STATUS = "status"
    ALERT = "alert"
    CLAIMED = "claimed"  # a recovery begins
    RECOVERY = "recovery"  # a recovery has ended
    LEFT_ALONE = "left_alone"  # why nothing is repaired
    DELIVERY = "delivery"


class Event(Struct, frozen=True, omit_defaults=True):
    """One thing that happened."""

    at: float  # seconds since the beginning
    kind: Kind
    node: str = ""  # key; "": the mesh or the monitor itself
    text: str = ""
    status: Status | None = None
    cause: Cause | None = None
    level: Level | None = None
    alert: int = 0  # its number
    of: AlertKind | None = None
    muted: bool = False  # it is in the history only
    next_step: str = ""
    action: Action | None = None
    finding: str = ""
    outcome: Outcome | None = None
    done: bool = False  # something was restarted, rebuilt or run
    seconds: float = 0.0  # that a recovery took, from its claim to its verification
    url: str = ""  # the name of one
    together_with: tuple[int, ...] = ()  # the numbers of the alerts that are in the same message
    stands_for: tuple[int, ...] = ()  # the numbers of the alerts that this one was sent instead of
    delivered: bool = False
    attempts: int = 0  # of this delivery so far


class Story(Struct, frozen=True):
    """What happened, and the state at the end."""

    events: tuple[Event, ...]
    state: State
    checks: int
    seconds: float


def of_alert(alert: Alert) -> Event:
    """Return the event that an alert was raised."""
    return Event(
        0,
        Kind.ALERT,
        alert.node,
        alerts.one_line(alert),
        status=alert.status,
        cause=alert.cause,
        level=alert.level,
        alert=alert.id,
        of=alert.kind,
        muted=alert.muted,
        next_step=alert.next_step,
    )


def of_attempt(url: str, notification: Notification, after: Delivery) -> Event:
    """Return the event that an alert was sent to a URL, with the outcome."""
    lead, members = notification.alert, notification.members
    return Event(
        0,
        Kind.DELIVERY,
        lead.node if len(members) == 1 else "",
        alerts.one_line(lead) if len(members) == 1 else headline(members, NAMED),
        alert=lead.id,
        together_with=tuple(each.id for each in notification.others),
        url=url,
        stands_for=notification.merged,
        delivered=after.progress is Progress.DELIVERED,
        attempts=after.attempts,
    )


def table(story: Story, about: str) -> str:
    """Return the story as a table for a terminal: when, which node, what happened; then the totals."""
    rows = [("TIME", "ABOUT", "WHAT HAPPENED")]
    rows += [
        (clock(each.at), each.url or each.node or "mesh", line(each))
        for each in story.events
        # Of the attempts that fail only the first: the others would hide the story.
        if each.kind is not Kind.DELIVERY or each.delivered or each.attempts == 1
    ]
    parts = [about.strip(), "\n".join(aligned(rows)), summary(story)]
    return "\n\n".join(filter(None, parts)) + "\n"


def clock(at: float) -> str:
    """Return a time since the beginning as text: ``0:05:30``."""
    whole = int(at)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def line(each: Event) -> str:
    """Return one line that says what happened."""
    if each.kind is Kind.STATUS and each.status:
        return f"{each.status.icon} {each.status}" + (f": {each.text}" if each.text else "")
    if each.kind is Kind.ALERT:
        return f"{each.text} (#{each.alert}{', not sent' if each.muted else ''})"
    if each.kind is Kind.CLAIMED:
        return f"recovery begins: {each.text}, for {each.cause or 'no cause'}"
    if each.kind is Kind.RECOVERY and each.outcome:
        found = f", found {each.finding}" if each.finding else ""
        took = f", {each.seconds:.0f} s" if each.seconds else ""
        tried = _TRIED[each.action or Action.NONE]
        said = f": {each.text}" if each.text else ""
        return f"{tried} {advice.describe_outcome(each.outcome)}{found}{took}{said}"
    if each.kind is Kind.LEFT_ALONE:
        return f"nothing is done: {each.text}"
    if each.kind is Kind.DELIVERY:
        sent = ", ".join(f"#{number}" for number in (each.alert, *each.together_with))
        merged = ", ".join(f"#{number}" for number in each.stands_for)
        instead = f", for {merged} too" if merged else ""
        text = f": {each.text}" if merged or each.together_with else ""
        return f"{'gets' if each.delivered else 'refuses'} {sent}{instead}{text}"
    return f"({each.text})"


_TRIED = {
    Action.RESTART_OLLAMA: "the restart",
    Action.REBUILD_TUNNEL: "the rebuild",
    Action.RELOAD_GPU_MODULE: "the reload",
    Action.RESET_GPU: "the reset",
    Action.REBOOT_HOST: "the reboot",
    Action.OWN_PLAYBOOK: "the playbook",
    Action.NONE: "it",
}


class Counts(Struct, frozen=True):
    """The totals of a story."""

    status: dict[str, Status]  # of each node, at the end
    causes: dict[str, tuple[Cause, ...]]  # that each node had, in the order of their first appearance
    repairs: dict[str, int]  # how often something was done to each node
    calls: int  # of a person
    alerts: int  # not muted
    deliveries: int
    changes: int  # of the nodes' statuses, without the first of each


def count(story: Story) -> Counts:
    """Count what happened."""
    causes: dict[str, dict[Cause, None]] = {key: {} for key in story.state.nodes}
    repairs = dict.fromkeys(story.state.nodes, 0)
    statuses = dict.fromkeys(story.state.nodes, Status.UNKNOWN)
    calls = raised = deliveries = changes = 0
    for each in story.events:
        if each.kind is Kind.STATUS and each.status:
            changes += statuses[each.node] not in (each.status, Status.UNKNOWN)
            statuses[each.node] = each.status
            causes[each.node] |= {each.cause: None} if each.cause else {}
        elif each.kind is Kind.RECOVERY:
            repairs[each.node] += each.done
        elif each.kind is Kind.ALERT:
            raised += not each.muted
            calls += each.of is AlertKind.RECOVERY and each.level is Level.CRITICAL and not each.muted
        elif each.kind is Kind.DELIVERY and each.delivered:
            deliveries += 1
    found = {key: tuple(each) for key, each in causes.items()}
    return Counts(statuses, found, repairs, calls, raised, deliveries, changes)


def unmet(expected: Expected, story: Story) -> tuple[str, ...]:
    """Return each expectation that is not met, in words; (): the story is as expected."""
    counts, found = count(story), []
    for what, wanted, got in (
        ("the status at the end", expected.status, counts.status),
        ("the causes", expected.causes, counts.causes),
        ("the number of repairs", expected.repairs, counts.repairs),
    ):
        for key, want in wanted.items():
            if got.get(key) != want:
                found.append(f"{what} of {key} should be {_said(want)}, but is {_said(got.get(key))}")
    for what, number, came in (
        ("calls for a person", expected.calls, counts.calls),
        ("alerts", expected.alerts, counts.alerts),
        ("deliveries", expected.deliveries, counts.deliveries),
    ):
        if number not in (None, came):
            found.append(f"the number of {what} should be {number}, but is {came}")
    return tuple(found)


def summary(story: Story) -> str:
    """Return the totals in one line, with the status changes: as many alerts a simpler monitor would send."""
    counts = count(story)
    return (
        f"{plural(story.checks, 'check')}, {plural(sum(counts.repairs.values()), 'repair')}, "
        f"{plural(counts.calls, 'call')} for a person, {plural(counts.alerts, 'alert')}, "
        f"{plural(counts.deliveries, 'message')} delivered; the nodes changed their status "
        f"{plural(counts.changes, 'time')}"
    )


def _said(value: object) -> str:
    return (", ".join(value) or "none") if isinstance(value, tuple) else str(value)
