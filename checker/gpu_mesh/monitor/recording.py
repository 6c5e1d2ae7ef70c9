"""Decides what one check adds to the history. Pure: monitor/history.py writes it.

It needs the state alone: what deliveries, recoveries and people did since the last entry is taken from there.
So when an entry could not be written, the next one makes up for it, but for the samples of that check and for
an incident that began and ended meanwhile.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from gpu_mesh.alerting.alerts import one_line
from gpu_mesh.diagnosis.evaluate import Transition
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import Entry, EventKind, GpuSample, Incident, Known, PastEvent, Sample
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.recovery import Attempt
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import advice, ladder
from gpu_mesh.text.humanize import plural, until_words

LONGEST = 3
"""Intervals for which a check counts at most; what is between two checks further apart was not watched."""

_RANKS = (Status.UNKNOWN, Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY, Status.OFFLINE)


def record(known: Known, mesh: Mesh, state: State, changes: Sequence[Transition], now: float) -> Entry:
    """Return what a check adds.

    Args:
        known: what the history has already.
        mesh: the nodes.
        state: as the check has saved it.
        changes: what the check changed.
        now: Unix seconds.
    """
    # A clock that was set back makes nothing happen twice: what is ahead of it has been noted.
    since = min(known.at, now)
    watched = frozenset(node.key for node in mesh.nodes if node.enabled)
    lasting, ended = _incidents(known, state, watched)
    mended = tuple(filter(None, (_mended_since(each, state.node(each.node)) for each in known.recent)))
    statuses = {key: state.node(key).status for key in watched}
    events = [
        *_inventory(known, watched, now),
        *_statuses(known, state, watched, now),
        *(event for key in watched for event in _of_node(state.node(key), key, since)),
        *_silences(state, known, now),
        *_alerts(state, known),
    ]
    return Entry(
        known=Known(
            at=now,
            alert=max((alert.id for alert in state.alerts), default=known.alert),
            silence=max((silence.id for silence in state.silences), default=known.silence),
            nodes=statuses,
            lasting=lasting,
        ),
        samples=tuple(
            _sample(change, mesh.settings.check_interval)
            for change in changes
            if not change.after.asleep_since  # then nobody knows how it is
        ),
        ended=(*mended, *ended),
        events=tuple(sorted(events, key=lambda event: event.at)),
        gpus=tuple(sample for key in watched for sample in _cards(state.node(key), key, since)),
    )


def _bounded(size: int | None) -> int | None:
    """Return a size as SQLite can hold it, whatever a host says."""
    return None if size is None else min(size, 2**62)


def _sample(change: Transition, interval: float) -> Sample:
    before, after = change.before, change.after
    passed = after.last_check - before.last_check if before.last_check else interval
    verdict = after.verdict or Verdict.FAILED
    return Sample(
        node=change.node.key,
        at=after.last_check,
        seconds=min(max(passed, 0.0), LONGEST * interval),
        verdict=verdict,
        cause=after.cause,
        ms=None if verdict is Verdict.FAILED else after.response_ms,
    )


def _incidents(
    known: Known, state: State, watched: frozenset[str]
) -> tuple[tuple[Incident, ...], tuple[Incident, ...]]:
    """Return the incidents that last, as they are now, and those that ended since the last entry."""
    before = {incident.node: incident for incident in known.lasting}
    alerted: dict[str, list[float]] = {}
    for alert in (each for each in state.alerts if not each.muted):
        alerted.setdefault(alert.node, []).append(alert.at)
    lasting = tuple(
        _lasting(before.get(key), key, state.node(key), alerted.get(key, []))
        for key in sorted(watched)
        if state.node(key).incident_since and state.node(key).status is not Status.UNKNOWN
    )
    began = {(incident.node, incident.began) for incident in lasting}
    ended = tuple(
        _ended(incident, state.node(incident.node))
        for incident in known.lasting
        if (incident.node, incident.began) not in began
    )
    return lasting, ended


def _lasting(before: Incident | None, key: str, node: NodeState, alerted: Sequence[float]) -> Incident:
    # Where the clock was set back, it is still the same one.
    if before is None or node.incident_since > before.began:
        before = Incident(key, node.incident_since, None, None, node.status, "")
    raised = (at for at in alerted if at >= before.began)
    worse = _RANKS.index(node.status) > _RANKS.index(before.worst)
    # How it ends, such as a connection that closes when a hung Ollama is restarted, is not what it was.
    named = node.cause is not None and (worse or before.cause is None or node.refined_from is not None)
    return replace(
        before,
        cause=node.cause if named else before.cause,
        worst=node.status if worse else before.worst,
        detail=node.detail if named else before.detail,
        alerted=before.alerted or min(raised, default=None),
        repairs=ladder.acted(_attempts(node, before.began)),
    )


def _ended(incident: Incident, node: NodeState) -> Incident:
    """Return an incident with its end: when the node was healthy, or the watching of it ended."""
    attempts = _attempts(node, incident.began)
    ended = node.since if node.status is Status.HEALTHY and node.since >= incident.began else node.last_check
    helped = [attempt.words for attempt in attempts if attempt.helped]
    return replace(
        incident,
        ended=max(ended, incident.began),
        repairs=max(incident.repairs, ladder.acted(attempts)),
        mended=helped[-1] if helped else "",
    )


def _mended_since(incident: Incident, node: NodeState) -> Incident | None:
    """Return an incident that was over already with the repair that was proved since; None: there is none."""
    later = node.incident_since or (node.last_incident if node.last_incident > incident.began else 0.0)
    attempts = [each for each in _attempts(node, incident.began) if not later or each.at < later]
    if incident.mended or ladder.acted(tuple(attempts)) <= incident.repairs:
        return None
    helped = [attempt.words for attempt in attempts if attempt.helped]
    return replace(incident, repairs=ladder.acted(tuple(attempts)), mended=helped[-1] if helped else "")


def _attempts(node: NodeState, since: float) -> tuple[Attempt, ...]:
    return tuple(attempt for attempt in node.recovery.attempts if attempt.at >= since)


def _inventory(known: Known, watched: frozenset[str], now: float) -> Iterator[PastEvent]:
    if not known.at:
        nodes = plural(len(watched), "node")
        yield PastEvent(now, EventKind.INVENTORY, "", f"the history begins, with {nodes}")
        return
    for key in sorted(watched - known.nodes.keys()):
        yield PastEvent(now, EventKind.INVENTORY, key, "is watched")
    for key in sorted(known.nodes.keys() - watched):
        yield PastEvent(now, EventKind.INVENTORY, key, "is watched no longer")


def _statuses(known: Known, state: State, watched: frozenset[str], now: float) -> Iterator[PastEvent]:
    """Tell what has changed since the last entry, also by checks that could not be written."""
    for key in sorted(watched):
        node, before = state.node(key), known.nodes.get(key, Status.UNKNOWN)
        if node.status is not before:
            detail = f": {node.detail}" if node.detail else ""
            now_is = "asleep" if node.asleep_since else node.status
            words = f"{now_is}, was {before}{detail}"
            yield PastEvent(node.since or now, EventKind.STATUS, key, words)


def _of_node(node: NodeState, key: str, since: float) -> Iterator[PastEvent]:
    for attempt in node.recovery.attempts:
        if attempt.at > since:
            words = f"{advice.describe_outcome(attempt.outcome)}: {attempt.words}"
            yield PastEvent(attempt.at, EventKind.REPAIR, key, f"a repair {words}")
    given = node.alerting.acknowledged
    if given and given.at > since:
        reason = f": {given.reason}" if given.reason else ""
        yield PastEvent(given.at, EventKind.SILENCE, key, f"acknowledged by {given.author}{reason}")
    drain = node.recovery.drain
    if drain and drain.at > since:
        reason = f": {drain.reason}" if drain.reason else ""
        why = f"as {drain.author} said{reason}" if drain.author else "for a repair"
        words = f"takes no new requests until {until_words(drain.until, drain.at)}, {why}"
        yield PastEvent(drain.at, EventKind.DRAIN, key, words)


def _silences(state: State, known: Known, now: float) -> Iterator[PastEvent]:
    for silence in state.silences:
        if silence.id > known.silence:
            what = ", ".join((*silence.nodes, *silence.groups)) or "all nodes"
            end = "until healthy" if silence.until_healthy else f"until {until_words(silence.until, now)}"
            words = f"{what} silenced by {silence.author} {end}: {silence.reason}"
            node = silence.nodes[0] if len(silence.nodes) == 1 and not silence.groups else ""
            yield PastEvent(silence.at, EventKind.SILENCE, node, words)


def _alerts(state: State, known: Known) -> Iterator[PastEvent]:
    for alert in state.alerts:
        if alert.id > known.alert and not alert.muted:  # what is not sent is a change of status alone
            yield PastEvent(alert.at, EventKind.ALERT, alert.node, one_line(alert))


def _cards(node: NodeState, key: str, since: float) -> Iterator[GpuSample]:
    if node.gpu is None or node.gpu.facts.at <= since:
        return
    from gpu_mesh.diagnosis import gpu  # only where somebody has looked: a check must start fast

    for card in node.gpu.facts.cards:
        yield GpuSample(
            node=key,
            card=gpu.name(card),
            at=node.gpu.facts.at,
            used=_bounded(card.used),
            total=_bounded(card.total),
            temperature=card.temperature,
            power=card.power,
            busy=card.busy,
            throttled=bool(card.slowed_by),
        )
