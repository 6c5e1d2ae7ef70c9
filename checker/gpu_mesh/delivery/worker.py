"""The work of ``gpu-mesh deliver``: sends the queued alerts, each to the URLs that want it.

1. One process at a time (``deliver.lock``); a second one leaves.
2. Nothing queued: leave, before Apprise is even imported.
3. Settle what no URL wants.
4. Per URL, all at the same time: send what is due in order of the alerts' numbers. Each attempt enters the
   state before it is made, and its outcome before the next is sent (that outcome and that next attempt in one
   write): a kill repeats at most what was on its way, and a state that cannot be saved sends nothing. A URL
   that refuses one is left alone until that one is due again.
5. Look again whenever a URL has no more to do, and every second while one is busy, until nothing is due: a
   slow URL delays no other, not even what was raised meanwhile.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from msgspec import Struct

from gpu_mesh.alerting.merging import Notification
from gpu_mesh.delivery import outbox
from gpu_mesh.delivery.outbox import Closed, Closure
from gpu_mesh.domain.alert import Alert, Delivery, Level, Progress
from gpu_mesh.domain.event import Event, Severity, Value, event
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.storage.state_file import StateError, StateFile
from gpu_mesh.system import locks
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.delivery.apprise_config import Channel, Configuration
    from gpu_mesh.delivery.render import Templates

MOST_AT_ONCE = 32
"""URLs that are served at the same time."""

LOOK_AGAIN = 1.0
"""Seconds between two looks for new alerts while a URL is busy."""


class Result(Struct, frozen=True):
    """What a run did."""

    exit_code: int = 0  # 1: the configuration or the state cannot be used; a refusal by a service is none
    delivered: int = 0
    refused: int = 0
    given_up: int = 0
    busy: bool = False  # another process is delivering


def deliver(paths: Paths, settings: Settings, log: Log, clock: Callable[[], float]) -> Result:
    """Deliver what is due now.

    Args:
        paths: where configuration, state and log are.
        settings: the monitor's.
        log: takes each outcome.
        clock: returns Unix seconds.
    """
    run = _Run(paths, settings, log, clock)
    try:
        if not paths.state.is_dir():
            return Result()  # nothing was ever checked here
        while True:
            with locks.only_one(paths.state / "deliver.lock") as alone:
                paths.deliver_wanted.unlink(missing_ok=True)
                if not alone:
                    return Result(busy=True)
                run.send_all()
            # A second process may have left between our last look and the end of our lock.
            if not run.has_work():
                return run.result()
    except (StateError, OSError) as error:
        log.write([event("deliver_failed", Severity.ERROR, reason=str(error))], clock())
        return Result(exit_code=1)


class _Run:
    """One run's memory: the configuration as read once, until when a URL is left alone, and the counts."""

    def __init__(self, paths: Paths, settings: Settings, log: Log, clock: Callable[[], float]) -> None:
        self._paths, self._settings, self._log, self._clock = paths, settings, log, clock
        self._file = StateFile(paths.state, log)
        self._configuration: Configuration | None = None
        self._templates: Templates | None = None
        self._refusing: dict[str, float] = {}
        self._said: set[str] = set()
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
        """Tell whether there is something to send or to settle."""
        alerts = self._file.load().alerts
        if all(alert.done for alert in alerts):
            return False
        configuration, now = self._configured(), self._clock()
        whole = not configuration.problems
        return bool(
            self._due(alerts, now) or outbox.closable(alerts, configuration.targets, now, whole=whole)
        )

    def send_all(self) -> None:
        """Send what is due, each URL on its own, until nothing is and no URL is busy."""
        if all(alert.done for alert in self._file.load().alerts):
            return
        channels = {channel.target.id: channel for channel in self._configured().channels}
        busy: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            while True:
                self._paths.deliver_wanted.unlink(missing_ok=True)
                self._settle()
                due = self._due(self._file.load().alerts, self._clock())
                for key in due.keys() - busy.keys():
                    busy[key] = pool.submit(self._send, channels[key], due[key])
                if not busy:
                    return
                wait(busy.values(), LOOK_AGAIN, FIRST_COMPLETED)
                for key in [key for key, sending in busy.items() if sending.done()]:
                    busy.pop(key).result()

    def _due(self, alerts: tuple[Alert, ...], now: float) -> dict[str, tuple[Notification, ...]]:
        due = outbox.due(alerts, self._configured().targets, now)
        return {key: found for key, found in due.items() if now >= self._refusing.get(key, 0.0)}

    def _configured(self) -> "Configuration":
        if self._configuration is None:
            # Here, because most runs find nothing queued and need neither Apprise nor Jinja.
            from gpu_mesh.delivery import apprise_config
            from gpu_mesh.delivery.render import Templates

            self._configuration = apprise_config.load(self._paths, self._settings)
            self._templates = Templates(self._settings.alert_templates)
            self._write(
                *(
                    event("alert_config_broken", Severity.ERROR, reason=text, next_step=_TRY)
                    for text in self._configuration.problems
                ),
                *(
                    event("alert_config_noted", Severity.WARNING, reason=text)
                    for text in self._configuration.notes
                ),
            )
        return self._configuration

    def _settle(self) -> None:
        configuration = self._configured()
        targets, whole = configuration.targets, not configuration.problems
        now = self._clock()
        if not outbox.closable(self._file.load().alerts, targets, now, whole=whole):
            return
        with self._file.update(now) as state:
            settled = outbox.close(state, targets, now, whole=whole)
        self._write(*(_given_up(item) for item in settled if item.ending is Closure.EXPIRED))
        unwanted = [item.alert for item in settled if item.ending is Closure.UNMATCHED]
        if unwanted:
            self._write(_unwanted(unwanted, configuration, self._paths, self._settings))

    def _send(self, channel: "Channel", letters: tuple[Notification, ...]) -> None:
        from gpu_mesh.delivery import sender

        assert self._templates is not None
        sent: tuple[Notification, str] | None = None
        for letter in letters:
            if not self._enter(channel, sent, letter):
                sent = None
                continue
            rendered = sender.worded(channel, letter.alert, self._templates)
            self._write_once("alert_template_broken", rendered.problems)
            sent = letter, sender.send(channel, letter.alert, rendered.message)
            if sent[1]:
                break
        if sent:
            self._enter(channel, sent)

    def _enter(
        self, channel: "Channel", sent: tuple[Notification, str] | None, then: Notification | None = None
    ) -> bool:
        """Save, in one write, what came of the letter that was sent and that the next one is begun.

        Args:
            channel: the URL.
            sent: the letter, and why it was not delivered ("": it was).
            then: the next one.

        Returns:
            Whether that one is begun; it may be due no longer.
        """
        configuration, now, begun, folded = self._configured(), self._clock(), False, None
        with self._file.update(now) as state:
            if sent:
                letter, reason = sent
                folded = outbox.record_outcome(
                    state,
                    letter.alert.id,
                    channel.target.id,
                    reason,
                    configuration.targets,
                    now,
                    whole=not configuration.problems,
                    merged=letter.merged,
                )
            if then:
                begun = outbox.begin(state, then.alert.id, channel.target, now)
        if sent:
            self._note(channel, *sent, folded, now)
        return begun

    def _note(
        self, channel: "Channel", letter: Notification, reason: str, folded: Delivery | None, now: float
    ) -> None:
        self._write(_outcome(channel, letter, reason, folded, now))
        self._outcomes.append(
            Progress.DELIVERED if not reason else folded.progress if folded else Progress.GIVEN_UP
        )
        if reason:
            self._refusing[channel.target.id] = now + outbox.retry_delay(folded.attempts if folded else 1)

    def _write(self, *events: Event) -> None:
        self._log.write(events, self._clock())

    def _write_once(self, name: str, texts: tuple[str, ...]) -> None:
        new = [text for text in texts if text not in self._said]
        self._said.update(new)
        self._write(*(event(name, Severity.ERROR, reason=text) for text in new))


_TRY = "mend the file, then: gpu-mesh alerts test; alerts wait for it 24 hours"


def _outcome(
    channel: "Channel", letter: Notification, reason: str, folded: Delivery | None, now: float
) -> Event:
    alert = letter.alert
    names: dict[str, Value] = {
        "alert": alert.id,
        "node": alert.node,
        "target": channel.target.id,
        "service": channel.label,
        "stands_for": ",".join(map(str, letter.merged)),
    }
    attempts = folded.attempts if folded else 1
    if not reason:
        return event("alert_delivered", **names, attempts=attempts)
    if folded is None or folded.progress is Progress.GIVEN_UP:
        return event(
            "alert_given_up", Severity.ERROR, **names, attempts=attempts, reason=reason, text=alert.text
        )
    wait = max(0.0, folded.next_at - now)
    return event(
        "alert_not_delivered",
        Severity.WARNING,
        **names,
        attempts=attempts,
        reason=reason,
        next_try_seconds=wait,
    )


def _given_up(item: Closed) -> Event:
    return event(
        "alert_given_up",
        Severity.ERROR,
        alert=item.alert.id,
        node=item.alert.node,
        reason="the alert configuration was broken, or without a URL that waited, for 24 hours",
        text=item.alert.text,
    )


def _unwanted(alerts: list[Alert], configuration: "Configuration", paths: Paths, settings: Settings) -> Event:
    from gpu_mesh.delivery.apprise_config import expected_place

    place = expected_place(paths, settings)
    if configuration.channels:
        reason = f"no URL in {place} has tags that match"
    else:
        reason = f"there is no URL to send alerts to; the configuration is expected in {place}"
    serious = any(alert.level is not Level.INFO for alert in alerts) or not configuration.channels
    return event(
        "alerts_sent_nowhere",
        Severity.WARNING if serious else Severity.INFO,
        alerts=",".join(str(alert.id) for alert in alerts),
        reason=reason,
    )
