"""Sends the queued alerts, each to the URLs that want it; the work of ``gpu-mesh deliver``.

1. One process works at a time (``deliver.lock``); a second one ends at once.
2. If no alert is queued and the file of URLs is no new one, end before Apprise is even imported.
3. Close the alerts that no URL wants.
4. For each URL, all at the same time: send what is due, in order of the alerts' numbers. An attempt is saved
   in the state before it is made. Its outcome is saved before the next alert is sent, in one write with that
   next attempt. So a kill repeats at most the alert that was on its way, and nothing is sent while the state
   cannot be saved. A URL that refuses an alert gets no other until that one is due again.
5. Look for new alerts when a URL is finished, and every second while one is busy, until nothing is due. So a
   slow URL delays no other, not even for alerts that were raised meanwhile.
6. Begin no attempt once the run has lasted for its budget, and leave deliver.wanted for the next run. The
   unit kills a run that lasts too long, and what was on its way then is sent twice.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting.merging import Notification
from gpu_mesh.delivery import events, outbox
from gpu_mesh.delivery.outbox import Closure
from gpu_mesh.delivery.place import expected_place, fingerprint
from gpu_mesh.domain.alert import Alert, Delivery, Progress
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.storage import emergency_file
from gpu_mesh.storage.state_file import NotLeaderError, StateError, StateFile
from gpu_mesh.system import locks, triggers
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.delivery.apprise_config import Channel, Configuration
    from gpu_mesh.delivery.render import Templates
    from gpu_mesh.delivery.sender import Sent
    from gpu_mesh.delivery.wording import Subject

MOST_AT_ONCE = 32
"""URLs that alerts are sent to at the same time."""

LOOK_AGAIN = 1.0
"""Seconds between two looks for new alerts while a URL is busy."""


BUDGET = 240.0
"""Seconds after which no attempt begins. The unit ends a run after 300, and an attempt may take 20."""


class Result(Struct, frozen=True):
    """What a run did."""

    exit_code: int = 0  # 1: the configuration or the state cannot be used; a refusal by a service gives 0
    delivered: int = 0
    refused: int = 0
    given_up: int = 0
    busy: bool = False  # another process is delivering
    handed_over: bool = False  # its time is used up; the next run goes on


def deliver(
    paths: Paths,
    settings: Settings,
    log: Log,
    clock: Callable[[], float],
    *,
    at_once: bool = False,
    typed: Callable[[str], str] = str,
    elapsed: Callable[[], float] = monotonic,
    budget: float = BUDGET,
    file: StateFile | None = None,
) -> Result:
    """Deliver what is due now.

    Args:
        paths: where configuration, state and log are.
        settings: the monitor's.
        log: takes each outcome.
        clock: returns Unix seconds.
        at_once: whether what waits for its next attempt is due, too.
        typed: returns a next step with its commands as people type them on this monitor.
        elapsed: returns seconds of a clock that is never set.
        budget: seconds of that clock after which no further attempt begins.
        file: the state that several monitors share; None: this monitor's own.
    """
    until = elapsed() + budget
    shared = file or StateFile(paths.state, log)
    run = _Run(paths, settings, log, clock, typed, lambda: elapsed() >= until, shared)
    try:
        _send_emergency(paths, settings, log, clock, typed)
        if not paths.state.is_dir():
            return Result()  # nothing was ever checked here
        while True:
            with locks.only_one(paths.state / "deliver.lock") as alone:
                log.write(triggers.clear_trigger(paths.deliver_wanted), clock())
                if not alone:
                    return Result(busy=True)
                if at_once:
                    run.end_waits()
                    at_once = False
                run.note_urls()
                run.send_all()
            # Another process may have ended at our lock, after our last look for alerts.
            if not run.has_work():
                return run.result()
            if run.is_over():
                log.write(triggers.set_trigger(paths.deliver_wanted), clock())
                return replace(run.result(), handed_over=True)
    except NotLeaderError as error:  # the one that leads now sends what is left
        log.write([event("deliver_handed_over", Severity.NOTICE, reason=error.reason)], clock())
        return run.result()
    except (StateError, OSError) as error:
        log.write([event("deliver_failed", Severity.ERROR, reason=str(error))], clock())
        return Result(exit_code=1)


def _send_emergency(
    paths: Paths, settings: Settings, log: Log, clock: Callable[[], float], typed: Callable[[str], str]
) -> None:
    if emergency_file.read(paths):
        from gpu_mesh.delivery import emergency  # most runs find that all is saved

        log.write(triggers.clear_trigger(paths.deliver_wanted), clock())
        try:
            emergency.send(paths, settings, log, clock, typed)
        except OSError as error:  # what is saved is delivered all the same
            log.write(
                [event("emergency_not_delivered", Severity.ERROR, reason=error.strerror or str(error))],
                clock(),
            )


class _Run:
    """One run: the configuration, read once; until when a refusing URL is left alone; and the counts."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        log: Log,
        clock: Callable[[], float],
        typed: Callable[[str], str],
        is_over: Callable[[], bool],
        file: StateFile,
    ) -> None:
        self._typed, self.is_over = typed, is_over
        self._paths, self._settings, self._log, self._clock = paths, settings, log, clock
        self._file = file
        self._configuration: Configuration | None = None
        self._templates: Templates | None = None
        self._refusing: dict[str, float] = {}
        self._written: set[str] = set()
        self._outcomes: list[Progress] = []

    def result(self) -> Result:
        broken = self._configuration is not None and bool(self._configuration.problems)
        return Result(
            exit_code=int(broken),
            delivered=self._outcomes.count(Progress.DELIVERED),
            refused=self._outcomes.count(Progress.PENDING),
            given_up=self._outcomes.count(Progress.GIVEN_UP),
        )

    def has_work(self) -> bool:
        """Return whether there is an alert to send or to close."""
        alerts = self._file.load().alerts
        if all(alert.done for alert in alerts):
            return False
        configuration, now = self._configured(), self._clock()
        whole = not configuration.problems
        return bool(
            self._due(alerts, now) or outbox.closable(alerts, configuration.targets, now, whole=whole)
        )

    def end_waits(self) -> None:
        """Let everything be due that waits for its next attempt."""
        if any(not alert.done for alert in self._file.load().alerts):
            with self._file.update(self._clock()) as state:
                outbox.end_waits(state)

    def note_urls(self) -> None:
        """Note in the state how many URLs there are, once an edit: status may not read the file.

        Mistakes are not told here: they are when an alert waits.
        """
        of, known = fingerprint(expected_place(self._paths, self._settings)), self._file.load()
        if not known.tick.at or known.urls_of == of:
            return
        from gpu_mesh.delivery import apprise_config

        found = apprise_config.load(self._paths, self._settings)
        with self._file.update(self._clock()) as state:
            state.urls, state.urls_of = None if found.problems else len(found.channels), of

    def send_all(self) -> None:
        """Send what is due, each URL on its own, until nothing is and no URL is busy."""
        if all(alert.done for alert in self._file.load().alerts):
            return
        channels = {channel.target.id: channel for channel in self._configured().channels}
        busy: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            while True:
                triggers.clear_trigger(self._paths.deliver_wanted)
                self._close_finished()
                due = {} if self.is_over() else self._due(self._file.load().alerts, self._clock())
                for key in due.keys() - busy.keys():
                    busy[key] = pool.submit(self._send, channels[key], due[key])
                if not busy:
                    return
                wait(busy.values(), LOOK_AGAIN, FIRST_COMPLETED)
                for key in [key for key, sending in busy.items() if sending.done()]:
                    busy.pop(key).result()

    def _due(self, alerts: Sequence[Alert], now: float) -> dict[str, tuple[Notification, ...]]:
        digest = self._settings.alert_digest
        due = outbox.due(alerts, self._configured().targets, now, digest=digest)
        return {key: found for key, found in due.items() if now >= self._refusing.get(key, 0.0)}

    def _configured(self) -> "Configuration":
        if self._configuration is None:
            # Imported here: most runs find no alert queued, and need neither Apprise nor Jinja.
            from gpu_mesh.delivery import apprise_config
            from gpu_mesh.delivery.render import Templates

            self._configuration = apprise_config.load(self._paths, self._settings)
            self._templates = Templates(self._settings.alert_templates)
            self._write(
                *(
                    event("alert_config_broken", Severity.ERROR, reason=text, next_step=events.FIX_AND_TEST)
                    for text in self._configuration.problems
                ),
                *(
                    event("alert_config_noted", Severity.WARNING, reason=text)
                    for text in self._configuration.notes
                ),
            )
        return self._configuration

    def _close_finished(self) -> None:
        configuration = self._configured()
        targets, whole = configuration.targets, not configuration.problems
        now = self._clock()
        if not outbox.closable(self._file.load().alerts, targets, now, whole=whole):
            return
        with self._file.update(now) as state:
            closed = outbox.close(state, targets, now, whole=whole)
        self._write(*(events.expired(item.alert) for item in closed if item.why is Closure.EXPIRED))
        unwanted = [item.alert for item in closed if item.why is Closure.UNMATCHED]
        if unwanted:
            place = expected_place(self._paths, self._settings)
            self._write(events.sent_nowhere(unwanted, place, has_url=bool(configuration.channels)))

    def _send(self, channel: "Channel", notifications: tuple[Notification, ...]) -> None:
        from gpu_mesh.delivery import sender

        assert self._templates is not None
        sent: tuple[Notification, Sent] | None = None
        for notification in notifications:
            if self.is_over():
                break
            if not self._record(channel, sent, notification):
                sent = None
                continue
            rendered = sender.worded(channel, self._subject(notification), self._templates)
            self._write_once("alert_template_broken", rendered.problems)
            sent = notification, sender.send(channel, notification.alert, rendered.message)
            if sent[1].reason:
                break
        if sent:
            self._record(channel, sent)

    def _subject(self, notification: Notification) -> "Subject":
        from gpu_mesh.delivery.wording import SEE_ALL, Digest, OneAlert

        members = [replace(each, next_step=self._typed(each.next_step)) for each in notification.members]
        return OneAlert(members[0]) if len(members) == 1 else Digest(members, self._typed(SEE_ALL))

    def _record(
        self, channel: "Channel", sent: "tuple[Notification, Sent] | None", then: Notification | None = None
    ) -> bool:
        """Save in one write the outcome of what was sent, and that the next attempt begins.

        Args:
            channel: the URL.
            sent: what was sent, and why it was not delivered ("": it was).
            then: what is sent next.

        Returns:
            Whether the next attempt has begun; the alert may be no longer due.
        """
        configuration, now, begun, outcome = self._configured(), self._clock(), False, None
        with self._file.update(now) as state:
            if sent:
                notification, result = sent
                outcome = outbox.record_outcome(
                    state,
                    notification,
                    channel.target.id,
                    result.reason,
                    configuration.targets,
                    now,
                    whole=not configuration.problems,
                    wait=result.wait,
                )
            if then:
                begun = outbox.begin(state, then, channel.target, now)
        if sent:
            self._note(channel, sent[0], sent[1].reason, outcome, now)
        return begun

    def _note(
        self,
        channel: "Channel",
        notification: Notification,
        reason: str,
        outcome: Delivery | None,
        now: float,
    ) -> None:
        self._write(events.attempted(channel, notification, reason, outcome, now))
        self._outcomes.append(
            Progress.DELIVERED if not reason else outcome.progress if outcome else Progress.GIVEN_UP
        )
        if reason:
            usual = now + outbox.retry_delay(outcome.attempts if outcome else 1)
            self._refusing[channel.target.id] = max(usual, outcome.next_at if outcome else 0.0)

    def _write(self, *events: Event) -> None:
        self._log.write(events, self._clock())

    def _write_once(self, name: str, texts: tuple[str, ...]) -> None:
        new = [text for text in texts if text not in self._written]
        self._written.update(new)
        self._write(*(event(name, Severity.ERROR, reason=text) for text in new))
