"""Decides which alerts are raised about the monitor itself, and words them: failed units, gaps, its network.

Deterministic: changes only the state it is given; no IO, no clock. monitor/unit_failures.py asks systemd.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.domain.alert import Alert, Level
from gpu_mesh.domain.history import Unwritten
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.domain.recovery import Brake
from gpu_mesh.domain.state import FailedUnit, State, Tick
from gpu_mesh.text.humanize import format_duration, lasted, moment, plural

STALE_INTERVALS = 3
"""A last check older than this many intervals means that nobody is watching."""

QUIET = 3600.0
"""Seconds between two alerts about one unit, at least."""

HISTORY_PATIENCE = 300.0
"""Seconds after which it is alerted that the history cannot be written."""

FORGOTTEN = 86400.0
"""Seconds after which a unit that neither fails nor works any more is forgotten: it is off, or removed."""


def note_failure(
    state: State,
    unit: str,
    reason: str,
    said: Iterable[str],
    now: float,
    *,
    user: bool = False,
    next_step: str = "",
) -> Alert | None:
    """Note the failure of a unit in the state, with an alert unless there was one within the hour.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        unit: its whole name, ``gpu-mesh-check.service``; or a command that gpu-mesh run starts.
        reason: how it ended, in words ("": not known).
        said: its last lines in the journal, each one harmless line.
        now: Unix seconds.
        user: whether it is a unit of the user's own systemd.
        next_step: what a person can do; "": the usual step for a unit.
    """
    known = state.failed_units.get(unit) or FailedUnit(since=now, at=now)
    quiet = now - known.alerted_at < QUIET
    state.failed_units[unit] = FailedUnit(
        since=known.since if known.failing else now,
        at=now,
        alerted_at=known.alerted_at if quiet else now,
        notified=not quiet or (known.failing and known.notified),
        user=user,
    )
    if quiet:
        return None
    own = " --user" if user else ""
    lines = " | ".join(said)
    return alerts.raise_monitor_alert(
        state,
        now,
        f"{unit} failed" + (f": {reason}" if reason else "") + (f"; it said: {lines}" if lines else ""),
        next_step or f"journalctl{own} -u {unit} -n 50; then, once fixed: systemctl{own} start {unit}",
    )


def failing(state: State) -> dict[str, FailedUnit]:
    """Return the units that failed and have not been seen to work since."""
    return {unit: known for unit, known in state.failed_units.items() if known.failing}


def note_working(state: State, working: Collection[str], now: float) -> None:
    """Alert that a failed unit works again, if there was an alert about its failure; forget old failures.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        working: units that have run well since they failed.
        now: Unix seconds.
    """
    for unit, known in failing(state).items():
        if unit in working:
            if known.notified:
                text = f"{unit} works again{lasted(', {} after it failed', known.since, now)}"
                alerts.raise_monitor_end(state, now, text)
            state.failed_units[unit] = replace(known, failing=False, notified=False)
    state.failed_units = {unit: known for unit, known in state.failed_units.items() if _counts(known, now)}


def _counts(known: FailedUnit, now: float) -> bool:
    if known.failing:
        return now - known.at < FORGOTTEN
    return now - known.alerted_at < QUIET


def unwatched(before: Tick, now: float, interval: float) -> float:
    """Return for how many seconds the mesh was unwatched when this check began; 0.0: it was watched.

    It was unwatched when more than STALE_INTERVALS intervals passed between the end of the last check and the
    beginning of this one. It counts as watched before the very first check, and after the clock was set back.

    Args:
        before: the last completed check.
        now: Unix seconds, when this check began.
        interval: seconds between checks. The interval of the last check counts where that was longer.
    """
    gap = now - _end(before)
    return gap if before.at and gap > STALE_INTERVALS * max(interval, before.interval) else 0.0


def patience(last: Tick, longest: float = 0.0) -> float:
    """Return the seconds after the beginning of the last check after which the next one must have ended.

    Args:
        last: the last completed check.
        longest: the longest time limit of a node: for so long a hanging one may hold the next check up.
    """
    longest = max(longest, last.seconds)
    return max(STALE_INTERVALS * last.interval, max(last.interval, last.seconds) + longest + last.interval)


def is_watched(last: Tick, now: float, longest: float = 0.0) -> bool:
    """Return whether a timer or gpu-mesh run made a check lately, not only people; ``longest`` as above."""
    return -last.interval <= now - last.at and now - last.at + last.by_hand <= patience(last, longest)


def note_gap(state: State, interval: float, nodes: int, began: float, now: float) -> None:
    """Alert that the mesh was unwatched. Call it before this check's tick is stored in the state.

    Checks that could probe no node store no tick, but they did run, and there was an alert about them. After
    checks by hand alone, nothing should have watched.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        interval: seconds between checks.
        nodes: how many nodes this check probed.
        began: Unix seconds, when this check began.
        now: Unix seconds.
    """
    gap = unwatched(state.tick, began, interval)
    if not gap or 0 < nodes <= state.unprobed or not is_watched(state.tick, state.tick.at):
        return
    from gpu_mesh.text.commands import IN_USER_SCOPE

    since = moment(_end(state.tick))
    alerts.raise_monitor_alert(
        state,
        now,
        f"The mesh was unwatched for {format_duration(gap)} (since {since}): no check was completed",
        f"was the monitor off or asleep? If not: journalctl -u gpu-mesh-check{IN_USER_SCOPE};"
        " without systemd, leave the checks to gpu-mesh run",
        Level.WARNING,
    )


def _end(of: Tick) -> float:
    return of.at + of.seconds


def note_offline(
    state: State, reachable: Mapping[str, str], settings: Settings, now: float, *, offline: bool
) -> None:
    """Alert that the monitor's network is down, again from time to time, and once when it is back."""
    state.canaries |= reachable
    long = lasted(" for {}", state.offline_since, now)
    if offline:
        state.offline_since = state.offline_since or now
        notified_at = state.offline_notified_at
        if alerts.is_reminder_due(state, notified_at, Level.ERROR, settings.reminder_interval, now):
            still = f"still offline,{long}" if notified_at else "offline"
            alerts.raise_monitor_alert(
                state,
                now,
                f"The monitor itself is {still}: no remote node answers, and none of its canaries",
                "check the monitor's own network; nothing is counted against the nodes, "
                "and nothing is repaired",
            )
            state.offline_notified_at = now
    elif state.offline_since:
        if state.offline_notified_at:
            text = f"The monitor is online again; the nodes on other machines were unwatched{long}"
            alerts.raise_monitor_end(state, now, text)
        state.offline_since = state.offline_notified_at = 0.0


def note_unprobed(state: State, unprobed: Mapping[str, str], now: float) -> None:
    """Alert once that the monitor cannot probe, and once when it can again."""
    if unprobed and not state.unprobed:
        keys, reason = ", ".join(unprobed), next(iter(unprobed.values()))
        alerts.raise_monitor_alert(
            state,
            now,
            f"The monitor itself could not probe {plural(len(unprobed), 'node')} ({reason}): {keys[:200]}",
            "look at the monitor's memory, open files and log; nothing is counted against these nodes",
        )
    elif state.unprobed and not unprobed:
        alerts.raise_monitor_end(state, now, "The monitor probes every node again")
    state.unprobed = len(unprobed)


def note_inventory(state: State, error: str, sources: tuple[str, ...], now: float) -> None:
    """Alert once about a broken edit, and once when it is fixed."""
    if error and error != state.inventory_error:
        import shlex

        first_line = " ".join(error.split())
        options = " ".join(f"-i {shlex.quote(source)}" for source in sources)
        alerts.raise_monitor_alert(
            state,
            now,
            f"The inventory cannot be used as it is; the mesh is watched as it was before: {first_line}",
            f"fix it and try: gpu-mesh {options} validate",
        )
    elif state.inventory_error and not error:
        alerts.raise_monitor_end(state, now, "The inventory is in force again")
    state.inventory_error = error


def note_history(state: State, found: Unwritten | None, now: float) -> None:
    """Alert once that the history is not written, and once when it is again. A moment's trouble is not told.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        found: why the check before this one could not write it; None: it could.
        now: Unix seconds.
    """
    if found is None:
        if state.history_error:
            alerts.raise_monitor_end(state, now, "The history is written again")
        state.history_error = ""
    elif found.damaged and not state.history_error:
        alerts.raise_monitor_alert(state, now, f"The history {found.reason}", found.next_step, Level.WARNING)
        state.history_error = found.reason
    elif not state.history_error and now - found.since >= HISTORY_PATIENCE:
        text = f"The history is not written{lasted(' for {}', found.since, now)}: {found.reason}"
        alerts.raise_monitor_alert(state, now, text, found.next_step, Level.WARNING)
        state.history_error = found.reason


def note_set_aside(
    state: State, reason: str, *, aside: str, file: str, older_version: bool, now: float
) -> None:
    """Alert that the state file cannot be used.

    Args:
        state: the one that takes its place; changed in place.
        reason: what is wrong with the file.
        aside: where the file is now.
        file: where it was.
        older_version: whether it is whole, but of a version that this one does not understand any more.
        now: Unix seconds.
    """
    what = "was written by an older gpu-mesh" if older_version else "was damaged"
    goes_on = "goes on from the copy before it" if state.nodes else "starts anew"
    alerts.raise_monitor_alert(
        state,
        now,
        f"The state file {what} ({reason}) and is set aside as {aside}; monitoring {goes_on}",
        "to have its silences and history back, install the version that wrote it and, while "
        f"gpu-mesh.target is stopped: mv {aside} {file}"
        if older_version
        else "look for a full or failing disk; the file may be deleted once looked at",
    )


def note_brake_on(state: State, on: Brake, failing: Sequence[str], nodes: int, now: float) -> None:
    """Alert that so many nodes fail at once that nothing is repaired; later, that it is still so.

    Args:
        state: changed in place; the caller holds the lock and saves it.
        on: the brake.
        failing: keys of the failing nodes.
        nodes: how many are watched.
        now: Unix seconds.
    """
    number = f"{len(failing)} of {nodes} nodes"
    what = f"{number} fail at once"
    if on.notified_at:
        what = f"still {number} fail{lasted(', for {}', on.since, now)}"
    held = "" if on.released else ", so none is repaired"
    force = "" if on.released else "; to repair them anyway: gpu-mesh recover --force"
    alerts.raise_monitor_alert(
        state,
        now,
        f"{what}{held}: {', '.join(failing)[:200]}",
        f"see what they share (power, network, a change){force}",
        Level.CRITICAL,
    )


def note_brake_off(state: State, failing: int, nodes: int, now: float) -> None:
    """Alert those who know of the brake that repairs resume."""
    verb = "fails" if failing == 1 else "fail"
    text = f"Automatic repairs resume: {failing} of {plural(nodes, 'node')} still {verb}"
    alerts.raise_monitor_end(state, now, text, Level.CRITICAL)
