"""Sends the one alert that is not saved before it is sent: that nothing can be saved. For worker.py.

It needs no disk: it reads ``emergency-….json``, which is in memory. At most one goes out in an hour, to each
URL that gets critical alerts.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from gpu_mesh.alerting import emergencies
from gpu_mesh.delivery import apprise_config, outbox, sender
from gpu_mesh.delivery.render import Templates
from gpu_mesh.domain.alert import Alert
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.storage import emergency_file
from gpu_mesh.system import locks
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

MOST_AT_ONCE = 32
"""URLs that it is sent to at the same time."""


def send(
    paths: Paths,
    settings: Settings,
    log: Log,
    clock: Callable[[], float],
    typed: Callable[[str], str] = str,
) -> None:
    """Tell people that nothing can be saved, if that is so and they were not told within the hour.

    Args:
        paths: where the configuration and ``emergency-….json`` are.
        settings: the monitor's.
        log: takes the outcome.
        clock: returns Unix seconds.
        typed: returns a next step with its commands as people type them on this monitor.

    Raises:
        OSError: the runtime folder cannot be used.
    """
    if emergency_file.read(paths) is None:
        return
    with locks.only_one(emergency_file.lock(paths)) as alone:
        found, now = emergency_file.read(paths), clock()
        notified_at = emergency_file.notified_at(paths)
        if not alone or found is None or not emergencies.is_due(found, notified_at, now):
            return
        # First, so that a kill in between repeats nothing for an hour: the next one says the same.
        emergency_file.note_notified(paths, now)
        alert = emergencies.alert_of(found, now)
        if not _send(replace(alert, next_step=typed(alert.next_step)), paths, settings, log, now):
            emergency_file.note_notified(paths, notified_at)


def _send(alert: Alert, paths: Paths, settings: Settings, log: Log, now: float) -> bool:
    """Send the alert to each URL that wants it; return whether one took it."""
    configuration = apprise_config.load(paths, settings)
    channels = [each for each in configuration.channels if outbox.wants(each.target.tags, alert.level, ())]
    templates = Templates(settings.alert_templates)
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        reasons = list(pool.map(lambda channel: sender.send_alone(channel, alert, templates), channels))
    log.write(
        [
            event(
                "emergency_not_delivered" if reason else "emergency_delivered",
                Severity.ERROR if reason else Severity.NOTICE,
                service=channel.label,
                **({"reason": reason} if reason else {}),
            )
            for channel, reason in zip(channels, reasons, strict=True)
        ],
        now,
    )
    return "" in reasons
