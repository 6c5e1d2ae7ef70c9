"""Decides whose alerts rest, until when and why, and which nodes recovery must leave alone meanwhile. Pure.

Two things have that effect: a silence, which a person adds by ``gpu-mesh silence``, and an open maintenance
window of the inventory. They mute messages, never checks.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.state import State
from gpu_mesh.silences import windows
from gpu_mesh.text.humanize import plural, until_words

LONGEST = 90 * 86400.0
"""Seconds that a silence may last: what nobody remembers must come to an end."""

REMEMBERED = 86400.0
"""Seconds for which a silence that has ended is still listed."""

_NAMED = 3  # nodes and groups in a line for people


class MutedUntil(Struct, frozen=True):
    """Why alerts rest now, be it by a silence or by a window."""

    until: float  # Unix seconds
    reason: str
    author: str = ""  # "": a maintenance window of the inventory
    no_recovery: bool = False  # recovery leaves the node alone, now


class InForce(Struct, frozen=True):
    """A silence, or an open maintenance window of several nodes, as reports show it."""

    id: int | None  # None: a maintenance window
    at: float
    until: float
    reason: str
    author: str  # "": a maintenance window
    nodes: tuple[str, ...]  # keys; with the groups, whose alerts rest; neither: everybody's
    groups: tuple[str, ...]
    levels: tuple[Level, ...]  # (): all
    no_recovery: bool


def muting(silences: Iterable[Silence], node: Node | None, level: Level | None, now: float) -> Silence | None:
    """Return the silence that mutes an alert, of several the one that ends last; None: it is told.

    Args:
        silences: the state's.
        node: whom the alert is about; None: the monitor itself, which only a silence of everything mutes.
        level: the alert's; None: of whatever level, which only a silence of all levels mutes.
        now: Unix seconds.
    """
    found = (each for each in silences if now < each.until and _means(each, node) and _mutes(each, level))
    return max(found, key=lambda each: each.until, default=None)


def quiet(
    silences: Iterable[Silence], node: Node | None, level: Level | None, now: float
) -> MutedUntil | None:
    """Return why an alert rests, be it by a silence or a maintenance window; None: it is told.

    Of several reasons it is the one that ends last; ``no_recovery`` holds where any of them, or a silence of
    another level, says so. Arguments as for ``muting``.
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
    """Return why recovery must leave the node alone, of several reasons the one that ends last."""
    mine = (each for each in silences if now < each.until and _means(each, node))
    reasons = [*map(_of_silence, mine), *_of_windows(node, now)]
    reasons = [reason for reason in reasons if reason.no_recovery]
    return _longest(reasons) if reasons else None


def against_recovery(silences: Iterable[Silence], node: Node, now: float) -> str:
    """Say why recovery must leave the node alone; "": nothing of the kind."""
    spared = sparing(silences, node, now)
    return describe_silence(spared, now) if spared else ""


def describe_silence(why: MutedUntil, now: float) -> str:
    """Say it in one line: ``silenced by anna until 14:05 UTC: driver update (no recovery)``."""
    how = f"silenced by {why.author}" if why.author else "in maintenance"
    left_alone = " (no recovery)" if why.no_recovery else ""
    return f"{how} until {until_words(why.until, now)}: {why.reason}{left_alone}"


def in_force(mesh: Mesh, silences: Iterable[Silence], now: float) -> tuple[InForce, ...]:
    """Return every silence that is in force, then every open window with the nodes that share it."""
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
        )
        for each in silences
        if now < each.until
    )
    shared: dict[windows.Spell, list[str]] = {}
    for node in mesh.nodes:
        for spell in _spells(node, now):
            shared.setdefault(spell, []).append(node.key)
    return by_persons + tuple(
        InForce(
            id=None,
            at=spell.at,
            until=spell.until,
            reason=spell.window.reason,
            author="",
            nodes=tuple(keys),
            groups=(),
            levels=(),
            no_recovery=not spell.window.recovery,
        )
        for spell, keys in shared.items()
    )


def left(mesh: Mesh, silences: Iterable[Silence], ended: Silence, now: float) -> tuple[InForce, ...]:
    """Return what is still in force for any of the nodes that a silence meant, of whatever level.

    Args:
        mesh: for the groups of its nodes, and their maintenance windows.
        silences: the state's.
        ended: the silence, which is in force no more.
        now: Unix seconds.
    """
    meant = [node for node in mesh.nodes if _means(ended, node)]
    keys, groups = {*ended.nodes}, {*ended.groups}
    keys.update(node.key for node in meant)
    groups.update(group for node in meant for group in node.groups)
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
    """Say in one line what rests, until when, by whom and why, and whether recovery does too."""
    what = f"silence {each.id}" if each.id is not None else "maintenance"
    by = f", by {each.author}" if each.author else ""
    left_alone = " (no recovery)" if each.no_recovery else ""
    return f"{what}: {scope(each)} until {until_words(each.until, now)}{by}: {each.reason}{left_alone}"


def scope(each: InForce | Silence) -> str:
    """Say what rests: ``iceland, group rented, warning only``."""
    named = [*each.nodes, *(f"group {group}" for group in each.groups)]
    if len(named) > _NAMED:
        named = [*named[:_NAMED], f"{plural(len(named) - _NAMED, 'other')}"]
    levels = " and ".join(each.levels)
    return ", ".join(named or ["everything"]) + (f", {levels} only" if levels else "")


def add(state: State, silence: Silence, now: float) -> Silence:
    """Give the silence its number and put it into the state, which the caller has locked and saves.

    Returns:
        The silence as added.
    """
    numbered = replace(silence, id=state.next_silence)
    state.next_silence += 1
    state.silences = (*remembered(state.silences, now), numbered)
    return numbered


def end(state: State, number: int, now: float) -> Silence | None:
    """End a silence in the state, which the caller has locked and saves.

    Returns:
        The silence as it was before, which may have ended already; None: there is none of that number.
    """
    found = next((each for each in state.silences if each.id == number), None)
    if found and now < found.until:
        state.silences = tuple(replace(each, until=now) if each is found else each for each in state.silences)
    return found


def remembered(silences: tuple[Silence, ...], now: float) -> tuple[Silence, ...]:
    """Return the silences without those that ended a day ago."""
    return tuple(each for each in silences if now < each.until + REMEMBERED)


def _means(silence: Silence, node: Node | None) -> bool:
    if not silence.nodes and not silence.groups:
        return True
    return node is not None and (node.key in silence.nodes or not set(silence.groups).isdisjoint(node.groups))


def _mutes(silence: Silence, level: Level | None) -> bool:
    return not silence.levels or level in silence.levels


def _of_silence(silence: Silence) -> MutedUntil:
    return MutedUntil(silence.until, silence.reason, silence.author, silence.no_recovery)


def _of_windows(node: Node | None, now: float) -> list[MutedUntil]:
    spells = _spells(node, now) if node else ()
    return [
        MutedUntil(spell.until, spell.window.reason, no_recovery=not spell.window.recovery)
        for spell in spells
    ]


def _spells(node: Node, now: float) -> tuple[windows.Spell, ...]:
    return windows.open_windows(node, now) if node.maintenance else ()


def _longest(reasons: list[MutedUntil]) -> MutedUntil:
    return max(reasons, key=lambda reason: reason.until)
