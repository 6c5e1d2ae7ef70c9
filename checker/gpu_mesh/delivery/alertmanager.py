"""Keeps each Alertmanager informed of what is open; the part of ``gpu-mesh deliver`` that needs no Apprise.

1. One process works at a time (``alertmanager.lock``). It runs beside the delivery through Apprise, and is
   repeated as long as that lasts: neither delays the other, and nothing expires while a chat service hangs.
2. Each round posts every open alert, which ends by itself some minutes later unless it is posted again; so a
   dead monitor leaves none behind.
3. What an Alertmanager is told of is saved before it is posted; that it has accepted an end, afterwards. So a
   kill loses no end, and repeats one at most. The state is written only when that changes.
4. While the state cannot be saved, nothing new is posted but just that, which needs no memory: it expires.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import compress
from threading import Event as Signal
from threading import Thread
from typing import TYPE_CHECKING

from gpu_mesh.alerting import alertmanager_alerts, alerts, emergencies, open_alerts
from gpu_mesh.alerting.alertmanager_alerts import Outcome
from gpu_mesh.alerting.open_alerts import OpenAlert
from gpu_mesh.delivery.place import of_alertmanagers
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.state import State
from gpu_mesh.storage import emergency_file
from gpu_mesh.storage.place import state_of
from gpu_mesh.storage.state_file import NotLeaderError, StateError
from gpu_mesh.system import locks, triggers
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.delivery.alertmanager_config import Alertmanager, Configuration

TIMER = 60.0
"""Seconds between two runs, as the unit's timer has them."""

LIVES = 4
"""As many runs may be missed before an open alert ends by itself."""

AGAIN = 15.0
"""Seconds between two rounds while the delivery through Apprise lasts."""

LOCK = "alertmanager.lock"


class Result:
    """What a run did. Its exit status stands when the run is over."""

    exit_code = 0  # 1: the file or the state cannot be used; a refusal gives 0


@contextmanager
def kept_informed(
    paths: Paths, mesh: Mesh, log: Log, clock: Callable[[], float], typed: Callable[[str], str] = str
) -> Iterator[Result]:
    """Post to each Alertmanager at once, and again from time to time until the block ends.

    Args:
        paths: where configuration, state and log are.
        mesh: what is watched, with the monitor's settings.
        log: takes each outcome that changes something, and each failure.
        clock: returns Unix seconds.
        typed: returns a next step with its commands as people type them on this monitor.
    """
    result, over = Result(), Signal()
    if not _has_work(paths, mesh.settings):
        yield result
        return
    run = _Run(paths, mesh, log, clock, typed)

    def work() -> None:
        result.exit_code = run.until(over)

    thread = Thread(target=work, name="alertmanager")
    thread.start()
    try:
        yield result
    finally:
        over.set()
        thread.join()


def lifetime(settings: Settings) -> float:
    """Return the seconds after which an open alert ends by itself unless it is posted again.

    Deliveries follow the timer, or the keepalive of recovery in gpu-mesh run, or checks that cron starts.
    """
    return LIVES * max(TIMER, settings.recover_interval, settings.check_interval)


def _has_work(paths: Paths, settings: Settings) -> bool:
    """Return whether there is an Alertmanager; or was one, which then is to be forgotten."""
    if not paths.state.is_dir():
        return False  # nothing was ever checked here
    return (
        of_alertmanagers(paths, settings).exists()
        or bool(settings.alertmanager_config)
        or (paths.state / LOCK).exists()
    )


class _Run:
    """One run: the configuration, read once."""

    def __init__(
        self, paths: Paths, mesh: Mesh, log: Log, clock: Callable[[], float], typed: Callable[[str], str]
    ) -> None:
        self._paths, self._mesh, self._log, self._clock, self._typed = paths, mesh, log, clock, typed
        self._file = state_of(paths, mesh, log, writer=Writer.WATCH)

    def until(self, over: Signal) -> int:
        """Make rounds until it is over, at least one; return the exit status."""
        try:
            with locks.only_one(self._paths.state / LOCK) as alone:
                if not alone:
                    return 0
                configuration = self._configured()
                good = self._round(configuration)
                while not over.wait(AGAIN):
                    good = self._round(configuration) and good
        except NotLeaderError:
            return 0
        except (StateError, OSError) as error:
            self._fail(error)
            return 1
        return int(not good or bool(configuration.problems))

    def _configured(self) -> "Configuration":
        from gpu_mesh.delivery import alertmanager_config  # it needs YAML, and most meshes have no such file

        place = of_alertmanagers(self._paths, self._mesh.settings)
        if not place.exists() and not self._mesh.settings.alertmanager_config:
            return alertmanager_config.Configuration()
        found = alertmanager_config.load(place)
        step = f"fix it, then: gpu-mesh validate --alertmanager {place}"
        self._log.write(
            [
                *(
                    event("alert_config_broken", Severity.ERROR, reason=text, next_step=step)
                    for text in found.problems
                ),
                *(event("alert_config_noted", Severity.WARNING, reason=text) for text in found.notes),
            ],
            self._clock(),
        )
        return found

    def _round(self, configuration: "Configuration") -> bool:
        """Post what is open, and what is over; return whether the state could be saved."""
        if not self._file.may_write():
            raise NotLeaderError("another monitor leads the mesh", "gpu-mesh cluster")
        now, targets = self._clock(), configuration.alertmanagers
        state = self._file.load(now)
        opened = open_alerts.open_alerts(self._mesh, state, now, self._typed)
        labels = [each.labels for each in opened]
        ids = [each.id for each in targets]

        def told(state: State) -> None:
            alertmanager_alerts.note_told(state, ids, labels, whole=not configuration.problems)

        known = dict(state.alertmanagers)
        is_told = alertmanager_alerts.is_told(known.values(), labels)
        saved = self._save_if_changed(state, told)
        if not saved:
            state.alertmanagers = known
            opened = tuple(compress(opened, is_told))
        if not targets:
            return saved
        new = is_told.count(False) if saved else 0
        outcomes = self._post_all(targets, state, opened, new, now)

        def accepted(state: State) -> None:
            places = {each.id: each.place for each in targets}
            alertmanager_alerts.note_outcomes(state, outcomes, places, self._clock())

        return self._save_if_changed(state, accepted) and saved

    def _post_all(
        self,
        targets: tuple["Alertmanager", ...],
        state: State,
        opened: tuple[OpenAlert, ...],
        new: int,
        now: float,
    ) -> dict[str, Outcome]:
        from gpu_mesh.delivery import alertmanager_api  # it needs requests

        labels = [each.labels for each in opened]
        firing = (*self._emergency(now), *opened)
        until = now + lifetime(self._mesh.settings)
        proxy = self._mesh.settings.proxy_from_environment

        def post(to: "Alertmanager") -> Outcome:
            over = alertmanager_alerts.resolved(state.alertmanagers.get(to.id), labels)
            ended = [
                alertmanager_api.Ended(each, open_alerts.describe_end(each, self._mesh, state, now))
                for each in over
            ]
            return alertmanager_api.post(to, ended, firing, now, until, trust_env=proxy)

        with ThreadPoolExecutor(len(targets)) as pool:
            outcomes = dict(zip((each.id for each in targets), pool.map(post, targets), strict=True))
        for to in targets:
            self._note(to, outcomes[to.id], new)
        return outcomes

    def _emergency(self, now: float) -> tuple[OpenAlert, ...]:
        """Return the alert that nothing can be saved, if that is so."""
        found = emergency_file.read(self._paths)
        if found is None or not emergencies.is_due(found, 0.0, now):
            return ()
        said = emergencies.alert_of(found, now)
        return (
            open_alerts.monitor_alert(
                self._mesh,
                "GpuMeshCannotSave",
                Level.CRITICAL,
                found.since,
                said.text,
                self._typed(said.next_step),
            ),
        )

    def _save_if_changed(self, seen: State, change: Callable[[State], None]) -> bool:
        """Make a change, and save it if it makes a difference; return False if it cannot be saved.

        Args:
            seen: the state as it was read; changed in place, too.
            change: what is done to the state.
        """
        before, waiting = dict(seen.alertmanagers), seen.next_alert
        change(seen)
        if seen.alertmanagers == before:
            return True
        try:
            with self._file.update(self._clock()) as state:
                change(state)
        except NotLeaderError:
            raise
        except (StateError, OSError) as error:
            self._fail(error)
            return False
        if seen.next_alert > waiting:  # one about an Alertmanager
            self._log.write(
                map(alerts.as_event, (each for each in seen.alerts if each.id >= waiting)), self._clock()
            )
            self._log.write(triggers.set_trigger(self._paths.deliver_wanted), self._clock())
        return True

    def _note(self, to: "Alertmanager", outcome: Outcome, new: int) -> None:
        names = {"target": to.id, "service": f"Alertmanager {to.label}"}
        found = []
        if outcome.reason:
            found.append(event("alertmanager_refused", Severity.WARNING, **names, reason=outcome.reason))
        if outcome.resolved or (new and not outcome.reason):
            found.append(event("alertmanager_posted", **names, new=new, resolved=len(outcome.resolved)))
        self._log.write(found, self._clock())

    def _fail(self, error: Exception) -> None:
        self._log.write([event("deliver_failed", Severity.ERROR, reason=str(error))], self._clock())
