"""Decides which alerts are muted, until when and why, and which nodes get no recovery meanwhile.

For alerting, planning, reporting and the silence command. Two things mute alerts: a silence, which a person
adds with ``gpu-mesh silence``, and an open maintenance window of the inventory. They never stop checks.
Deterministic: changes only the state it is given; no IO, no clock.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import State
from gpu_mesh.silences import windows
from gpu_mesh.text.humanize import plural, until_words

LONGEST = 90 * 86400.0
"""Seconds that a silence may last at most, so that a forgotten one ends."""

REMEMBERED = 86400.0
"""Seconds for which a silence that has ended is still listed."""

_NAMED = 3  # nodes and groups that a line names; the others are only counted


class MutedUntil(Struct, frozen=True):
    """Why alerts are muted now: by a silence or by a maintenance window."""

    until: float  # Unix seconds
    reason: str
    author: str = ""  # "": a maintenance window
    no_recovery: bool = False  # the node gets no recovery now
    until_healthy: bool = False  # it ends earlier, once the nodes that failed are healthy


class InForce(Struct, frozen=True):
    """A silence, or an open maintenance window with the nodes that share it, as reports show it."""

    id: int | None  # None: a maintenance window
    at: float
    until: float
    reason: str
    author: str  # "": a maintenance window
    nodes: tuple[str, ...]  # keys; without nodes and groups it is for everything
    groups: tuple[str, ...]
    levels: tuple[Level, ...]  # (): all
    no_recovery: bool
    until_healthy: bool  # it ends earlier, once a node has failed and all are healthy


def muting(silences: Iterable[Silence], node: Node | None, level: Level | None, now: float) -> Silence | None:
    """Return the silence that mutes an alert, of several the one that ends last; None: none does.

    Args:
        silences: the state's.
        node: the alert's; None: it is about the monitor itself, and only a silence of everything mutes it.
        level: the alert's; None: any, so that only a silence of all levels counts.
        now: Unix seconds.
    """
    found = (each for each in silences if now < each.until and _covers(each, node) and _mutes(each, level))
    return max(found, key=lambda each: each.until, default=None)


def quiet(
    silences: Iterable[Silence], node: Node | None, level: Level | None, now: float
) -> MutedUntil | None:
    """Return why an alert is muted, by a silence or a maintenance window; None: it is not.

    Of several reasons, return the one that ends last. ``no_recovery`` is true if any reason, or a silence of
    another level, stops recovery. Arguments as for ``muting``.
    """
    given = tuple(silences)
    by_person = muting(given, node, level, now)
    reasons = [_of_silence(by_person)] if by_person else []
    reasons += _of_windows(node, now)
    if not reasons:
        return None
    spared = node is not None and sparing(given, node, now) is not None
    return replace(_longest(reasons), no_recovery=spared)


def sparing(silences: Iterable[Silence], node: Node, now: float) -> MutedUntil | None:
    """Return why the node gets no recovery, of several reasons the one that ends last; None: no reason."""
    mine = (each for each in silences if now < each.until and _covers(each, node))
    reasons = [*map(_of_silence, mine), *_of_windows(node, now)]
    reasons = [reason for reason in reasons if reason.no_recovery]
    return _longest(reasons) if reasons else None


def against_recovery(silences: Iterable[Silence], node: Node, now: float) -> str:
    """Return in words why the node gets no recovery; "": it may get one."""
    spared = sparing(silences, node, now)
    return describe_silence(spared, now) if spared else ""


def describe_silence(why: MutedUntil, now: float) -> str:
    """Return the reason in one line: ``silenced by anna until 14:05 UTC: driver update (no recovery)``."""
    how = f"silenced by {why.author}" if why.author else "in maintenance"
    left_alone = " (no recovery)" if why.no_recovery else ""
    return f"{how} until {_end_words(why, now)}: {why.reason}{left_alone}"


def in_force(mesh: Mesh, silences: Iterable[Silence], now: float) -> tuple[InForce, ...]:
    """Return every silence in force, then every open maintenance window with the nodes that share it."""
    by_persons = tuple(
        InForce(
            id=each.id,
            at=each.at,
            until=each.until,
            reason=each.reason,
            author=each.author,
            nodes=each.nodes,
            groups=each.groups,
            levels=each.levels,
            no_recovery=each.no_recovery,
            until_healthy=each.until_healthy,
        )
        for each in silences
        if now < each.until
    )
    shared: dict[windows.Opening, list[str]] = {}
    for node in mesh.nodes:
        for opening in _openings(node, now):
            shared.setdefault(opening, []).append(node.key)
    return by_persons + tuple(
        InForce(
            id=None,
            at=opening.at,
            until=opening.until,
            reason=opening.window.reason,
            author="",
            nodes=tuple(keys),
            groups=(),
            levels=(),
            no_recovery=not opening.window.recovery,
            until_healthy=False,
        )
        for opening, keys in shared.items()
    )


def left(mesh: Mesh, silences: Iterable[Silence], ended: Silence, now: float) -> tuple[InForce, ...]:
    """Return what still mutes any of the nodes that an ended silence covered, at any level.

    Args:
        mesh: for the groups of its nodes, and their maintenance windows.
        silences: the state's.
        ended: the silence that is no longer in force.
        now: Unix seconds.
    """
    covered = [node for node in mesh.nodes if _covers(ended, node)]
    keys, groups = {*ended.nodes}, {*ended.groups}
    keys.update(node.key for node in covered)
    groups.update(group for node in covered for group in node.groups)
    everything = not ended.nodes and not ended.groups
    return tuple(
        each
        for each in in_force(mesh, silences, now)
        if everything
        or not (each.nodes or each.groups)
        or not keys.isdisjoint(each.nodes)
        or not groups.isdisjoint(each.groups)
    )


def described(each: InForce, now: float) -> str:
    """Return in one line what is muted, until when, by whom, why, and whether there is no recovery either."""
    what = f"silence {each.id}" if each.id is not None else "maintenance"
    by = f", by {each.author}" if each.author else ""
    left_alone = " (no recovery)" if each.no_recovery else ""
    return f"{what}: {scope(each)} until {_end_words(each, now)}{by}: {each.reason}{left_alone}"


def _end_words(each: InForce | MutedUntil, now: float) -> str:
    end = until_words(each.until, now)
    return f"healthy, at most until {end}" if each.until_healthy else end


def scope(each: InForce | Silence) -> str:
    """Return what is muted: ``iceland, group rented, warning only``."""
    named = [*each.nodes, *(f"group {group}" for group in each.groups)]
    if len(named) > _NAMED:
        named = [*named[:_NAMED], f"{plural(len(named) - _NAMED, 'other')}"]
    levels = " and ".join(each.levels)
    return ", ".join(named or ["everything"]) + (f", {levels} only" if levels else "")


def add(state: State, silence: Silence, now: float) -> Silence:
    """Number the silence and add it to the state. The caller holds the state's lock, and saves the state.

    Returns:
        The silence as added.
    """
    numbered = replace(silence, id=state.next_silence)
    state.next_silence += 1
    state.silences = (*remembered(state.silences, now), numbered)
    return numbered


def end(state: State, number: int, now: float) -> Silence | None:
    """End a silence in the state. The caller holds the state's lock, and saves the state.

    Returns:
        The silence as it was before; it may have ended already. None: no silence has this number.
    """
    found = next((each for each in state.silences if each.id == number), None)
    if found and now < found.until:
        state.silences = tuple(replace(each, until=now) if each is found else each for each in state.silences)
    return found


def end_those_until_healthy(state: State, mesh: Mesh, now: float) -> None:
    """End the silences that last until their nodes are healthy, once one has failed and all are healthy.

    Args:
        state: changed in place; a check is already in it.
        mesh: the nodes.
        now: Unix seconds.
    """
    state.silences = tuple(
        _after_check(each, state, mesh, now) if each.until_healthy and now < each.until else each
        for each in state.silences
    )


def _after_check(silence: Silence, state: State, mesh: Mesh, now: float) -> Silence:
    statuses = {state.node(node.key).status for node in mesh.nodes if node.enabled and _covers(silence, node)}
    if statuses - {Status.HEALTHY, Status.UNKNOWN}:
        return replace(silence, failed=True)
    return replace(silence, until=now) if silence.failed and statuses == {Status.HEALTHY} else silence


def remembered(silences: tuple[Silence, ...], now: float) -> tuple[Silence, ...]:
    """Return the silences without those that ended more than a day ago."""
    return tuple(each for each in silences if now < each.until + REMEMBERED)


def _covers(silence: Silence, node: Node | None) -> bool:
    if not silence.nodes and not silence.groups:
        return True
    return node is not None and (node.key in silence.nodes or not set(silence.groups).isdisjoint(node.groups))


def _mutes(silence: Silence, level: Level | None) -> bool:
    return not silence.levels or level in silence.levels


def _of_silence(silence: Silence) -> MutedUntil:
    return MutedUntil(
        silence.until, silence.reason, silence.author, silence.no_recovery, silence.until_healthy
    )


def _of_windows(node: Node | None, now: float) -> list[MutedUntil]:
    openings = _openings(node, now) if node else ()
    return [
        MutedUntil(opening.until, opening.window.reason, no_recovery=not opening.window.recovery)
        for opening in openings
    ]


def _openings(node: Node, now: float) -> tuple[windows.Opening, ...]:
    return windows.open_windows(node, now) if node.maintenance else ()


def _longest(reasons: list[MutedUntil]) -> MutedUntil:
    return max(reasons, key=lambda reason: reason.until)
