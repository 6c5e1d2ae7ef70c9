"""Queues alerts about the monitor's own units and commands: that one failed, and that it works again.

For ``gpu-mesh failed``, which ``gpu-mesh-failure@.service`` runs when another unit fails. It needs neither
the inventory nor the network, because either may be broken. Where systemd or the journal gives no answer, the
alert says less. monitor/foreground.py uses it for the commands of ``gpu-mesh run``.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping

from gpu_mesh.alerting import alerts, monitor_alerts
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system import triggers
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.system.systemd import ending, last_lines


def notify(paths: Paths, unit: str, log: Log, clock: Callable[[], float] = time.time, *, user: bool) -> bool:
    """Queue an alert about a unit that failed, with its last lines, unless there was one within the hour.

    Args:
        paths: the monitor's folders.
        unit: its whole name; it must match ``UNIT``.
        log: the central log.
        clock: returns Unix seconds.
        user: whether it is a unit of the user's own systemd.

    Returns:
        Whether an alert was queued.

    Raises:
        StateError: the state folder cannot be used.
    """
    run = _environment_of(unit, os.environ)
    reason = ending(
        run.get("MONITOR_SERVICE_RESULT", ""),
        run.get("MONITOR_EXIT_CODE", ""),
        run.get("MONITOR_EXIT_STATUS", ""),
    )
    said = last_lines(unit, run.get("MONITOR_INVOCATION_ID", ""), user=user)
    return note(paths, unit, reason, said, log, clock, user=user)


def note(
    paths: Paths,
    unit: str,
    reason: str,
    said: Iterable[str],
    log: Log,
    clock: Callable[[], float] = time.time,
    *,
    user: bool = False,
    next_step: str = "",
) -> bool:
    """Queue an alert about what failed, unless there was one within the hour; return whether one was queued.

    The arguments are those of ``monitor_alerts.note_failure``.

    Raises:
        StateError: the state folder cannot be used.
    """
    now = clock()
    with StateFile(paths.state, log).update(now) as state:
        alert = monitor_alerts.note_failure(state, unit, reason, said, now, user=user, next_step=next_step)
    if alert is None:
        log.write([event("unit_failed", Severity.ERROR, unit=unit, reason=reason)], now)
        return False
    log.write([*triggers.set_trigger(paths.deliver_wanted), alerts.as_event(alert)], now)
    return True


def note_good_run(paths: Paths, unit: str, log: Log, clock: Callable[[], float] = time.time) -> None:
    """Queue an alert that a unit works again, if there was an alert that it failed.

    Raises:
        StateError: the state folder cannot be used.
    """
    file, now = StateFile(paths.state, log), clock()
    if unit not in monitor_alerts.failing(file.load()):
        return
    with file.update(now) as state:
        first = state.next_alert
        monitor_alerts.note_working(state, {unit}, now)
        raised = [alert for alert in state.alerts if alert.id >= first]
    log.write([*triggers.set_trigger(paths.deliver_wanted), *map(alerts.as_event, raised)], now)


def _environment_of(unit: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return what systemd (251 and newer) passes about the run that failed; nothing when run by hand."""
    return environ if environ.get("MONITOR_UNIT") == unit else {}
