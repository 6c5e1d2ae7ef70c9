"""Decides what is remembered of an Alertmanager: what it was told, and since when it accepts nothing.

Deterministic: changes only the state it is given; no IO, no clock. An alert that it was told of and that is
not open any more is posted as resolved until it has accepted that.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.domain.alert import Alertmanager
from gpu_mesh.domain.state import State
from gpu_mesh.text.humanize import lasted

MOST_TOLD = 20_000
"""As many alerts are remembered for one Alertmanager; beyond that the oldest resolved ones go."""

PATIENCE = 300.0
"""Seconds after which it is alerted that an Alertmanager accepts nothing."""

Labels = dict[str, str]
_NEW = Alertmanager()


class Outcome(Struct, frozen=True):
    """What came of a run's posts to one Alertmanager."""

    reason: str = ""  # why one was not accepted, without secrets; "": all were
    resolved: tuple[Labels, ...] = ()  # what it has accepted as resolved


def resolved(known: Alertmanager | None, opened: Sequence[Labels]) -> tuple[Labels, ...]:
    """Return what an Alertmanager was told of and is not open any more; the oldest first."""
    now_open = {_key(labels) for labels in opened}
    return tuple(labels for labels in (known or _NEW).told if _key(labels) not in now_open)


def is_told(known: Iterable[Alertmanager], opened: Sequence[Labels]) -> tuple[bool, ...]:
    """Return of each alert that is open whether one of the Alertmanagers was told of it."""
    before = {_key(labels) for each in known for labels in each.told}
    return tuple(_key(labels) in before for labels in opened)


def note_told(state: State, names: Collection[str], opened: Sequence[Labels], *, whole: bool) -> None:
    """Note what each Alertmanager is about to be told of. Saved before it is, so that a kill loses no end.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        names: the Alertmanagers, each by its hash.
        opened: the labels of the alerts that are open.
        whole: whether ``names`` has all of them; then the others are forgotten: nothing reaches them.
    """
    known = state.alertmanagers
    kept = {} if whole else dict(known)
    state.alertmanagers = kept | {name: _told(known.get(name, _NEW), opened) for name in names}


def _told(known: Alertmanager, opened: Sequence[Labels]) -> Alertmanager:
    over = resolved(known, opened)
    before = {_key(labels) for labels in known.told}
    new = tuple(labels for labels in opened if _key(labels) not in before)
    surplus = max(0, len(known.told) + len(new) - MOST_TOLD)
    gone = {_key(labels) for labels in over[:surplus]}
    kept = tuple(labels for labels in known.told if _key(labels) not in gone)
    return replace(known, told=(*kept, *new)) if new or gone else known


def note_outcomes(
    state: State, outcomes: Mapping[str, Outcome], places: Mapping[str, str], now: float
) -> None:
    """Note what each Alertmanager has accepted; alert that one accepts nothing, and that it does again.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        outcomes: of this run, by the Alertmanager's hash.
        places: where each is described, by its hash.
        now: Unix seconds.
    """
    for name, outcome in outcomes.items():
        known = state.alertmanagers.get(name, _NEW)
        gone = {_key(labels) for labels in outcome.resolved}
        told = tuple(labels for labels in known.told if _key(labels) not in gone)
        state.alertmanagers[name] = replace(_after(state, name, known, outcome, places, now), told=told)


def _after(
    state: State, name: str, known: Alertmanager, outcome: Outcome, places: Mapping[str, str], now: float
) -> Alertmanager:
    if not outcome.reason:
        if known.notified:
            after = lasted(" after {}", known.failing_since, now)
            alerts.raise_monitor_end(state, now, f"The Alertmanager {name} accepts alerts again{after}")
        return replace(known, failing_since=0.0, notified=False)
    since = known.failing_since or now
    if known.notified or now - since < PATIENCE:
        return replace(known, failing_since=since)
    alerts.raise_monitor_alert(
        state,
        now,
        f"The Alertmanager {name} accepts no alerts{lasted(', for {}', since, now)}: {outcome.reason}",
        f"see {places.get(name, 'alertmanager.yml')}; try it: gpu-mesh alerts test; "
        "what it has not accepted is posted again every minute",
    )
    return replace(known, failing_since=since, notified=True)


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
