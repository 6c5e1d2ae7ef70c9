"""Runs the monitor in the foreground for ``gpu-mesh run``: starts the commands that systemd's units would.

Each command runs as a process of its own, at the same interval as its unit. So one that fails, hangs or is
killed does not affect the others. A failure is alerted as that of a unit is.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.gpu import LOOKS_AGAIN
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.monitor import lead, tick, unit_failures
from gpu_mesh.publishing import view
from gpu_mesh.storage.state_file import StateError, StateFile
from gpu_mesh.system import locks, systemd
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import RUN_PID, Paths
from gpu_mesh.text.humanize import format_duration

POLL = 0.1
"""Seconds between two looks for finished commands and for triggers."""

PATIENCE = 10.0
"""Seconds that the commands have to end after SIGTERM."""

LIMITS = {
    "lead": 30.0,
    "check": 300.0,
    "deliver": 300.0,
    "recover": 1800.0,
    "look": 1800.0,
    "dashboard": 60.0,
    "stats": 60.0,
    "publish": 60.0,
}
"""Seconds that each command may take, as the units have it (TimeoutStartSec=); one that hangs is ended."""

_WORDS = {"look": ("--due",), "publish": ("--due",)}
"""What a command is given that a timer starts otherwise than a person."""

_KEPT = 4096  # bytes of a command's standard error that are kept, for the alert that it failed
_CHUNK, _CHUNKS = 65536, 16  # bytes (the size of a pipe), and how many such reads in one look


class _Job:
    """One command that is started again and again, never twice at the same time."""

    def __init__(self, name: str, interval: float, trigger: Path | None = None, first: float = 0.0) -> None:
        self.name = name
        self.interval = interval
        self.trigger = trigger
        self.due = time.monotonic() + first
        self.process: subprocess.Popen[bytes] | None = None
        self.failed = False
        self.limit, self.hung = LIMITS[name], False
        self._began = 0.0
        self.may_have_failed = True  # perhaps before this process began: then its end is still to be alerted
        self._said, self._cut = b"", False

    def start(self, command: Sequence[str], environment: dict[str, str]) -> None:
        """Start it.

        Raises:
            OSError: the system has no memory, descriptor or process left for it.
        """
        # A session of its own: Ctrl-C reaches this process alone, which then ends the others.
        self.process = subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=subprocess.PIPE, bufsize=0
        )
        assert self.process.stderr is not None  # just asked for
        os.set_blocking(self.process.stderr.fileno(), False)
        self._said, self._cut, self.failed = b"", False, False
        self._began, self.hung = time.monotonic(), False

    def keep_to_limit(self, now: float) -> bool:
        """End it if it takes too long; return whether that has just been found.

        It may be stopped, or wait for a disk that is gone: then only SIGKILL ends it.
        """
        if self.process is None or now - self._began <= self.limit:
            return False
        late = now - self._began - self.limit
        self.send_signal(signal.SIGKILL if late > PATIENCE else signal.SIGTERM)
        found, self.hung = not self.hung, True
        return found

    def pass_on_errors(self) -> None:
        """Pass on what it has written to standard error since the last look, and keep the last part."""
        if self.process is None or self.process.stderr is None:
            return
        for _ in range(_CHUNKS):
            chunk = self.process.stderr.read(_CHUNK)
            if not chunk:  # None: nothing for now
                return
            said = self._said + chunk
            self._said, self._cut = said[-_KEPT:], self._cut or len(said) > _KEPT
            with suppress(OSError, ValueError, AttributeError):  # our own is closed, or does not exist
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines that it wrote, made harmless."""
        # Whole lines only: in a part of a line a secret could not be recognised.
        lines = self._said.decode(errors="replace").splitlines()[int(self._cut) :]
        return systemd.last_lines_of(lines)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None:
            self.process.send_signal(number)

    def is_due(self, now: float) -> bool:
        """Return whether to start it: at its time, or on its trigger; after a failure only at its time."""
        return self.process is None and (now >= self.due or (not self.failed and self._is_triggered()))

    def started(self, now: float) -> None:
        """Set the next time; a start by the trigger does not change it."""
        if now >= self.due:
            self.due = max(self.due + self.interval, now)

    def _is_triggered(self) -> bool:
        return self.trigger is not None and self.trigger.exists()

    def ended(self) -> int | None:
        """Return the exit status if the command has ended since the last look."""
        if self.process is None or self.process.poll() is None:
            self.pass_on_errors()
            return None
        self.pass_on_errors()
        if self.process.stderr is not None:
            self.process.stderr.close()
        status, self.process = self.process.returncode, None
        self.failed = status != 0
        return status


@contextmanager
def alone(paths: Paths) -> Iterator[int]:
    """Be the only process that runs this in the foreground; yield 0, or the number of the other one.

    Two at once would count every failure twice. -1: there is another one, but its number is unknown.
    """
    paths.state.mkdir(parents=True, exist_ok=True, mode=0o750)
    with locks.open_file(paths.state / "run.lock") as lock:
        if not locks.take(lock):
            lock.seek(0)
            number = lock.read(20).strip()
            yield int(number) if number.isdigit() else -1
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield 0


def run(
    paths: Paths,
    monitor: str | None,
    mesh: Mesh,
    log: Log,
    by_hand: Callable[[str], str],
    given: Sequence[str] = (),
) -> int:
    """Watch until SIGINT or SIGTERM, then let the running commands end.

    Args:
        paths: the monitor's folders.
        monitor: the monitor whose settings apply, where the inventory has several.
        mesh: its settings; new intervals take effect at the next start.
        log: the central log.
        by_hand: returns what a person types to run one of the commands.
        given: further options that each command gets, and so names in what it tells people to type.

    Returns:
        0.
    """
    jobs = _jobs(paths, mesh.settings, shared=bool(mesh.cluster.endpoints))
    command = [sys.executable, "-m", "gpu_mesh"]
    command += [part for source in paths.inventory for part in ("--inventory", source)]
    command += [*(["--monitor", monitor] if monitor else []), *given]
    environment = {**os.environ, **paths.environment(), RUN_PID: str(os.getpid())}
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    log.write([event("monitor_started", Severity.NOTICE, interval=mesh.settings.check_interval)], time.time())
    try:
        while not stopping:
            now = time.monotonic()
            for job in jobs:
                if job.keep_to_limit(now):
                    hangs = event("command_hangs", Severity.ERROR, command=job.name, seconds=job.limit)
                    log.write([hangs], time.time())
                status = job.ended()
                if status:
                    failed = event("command_failed", Severity.ERROR, command=job.name, exit_status=status)
                    log.write([failed], time.time())
                    _notify(job, _ending(job, status), paths, log, by_hand)
                elif status == 0 and job.may_have_failed:
                    _notify(job, "", paths, log, by_hand)
                if job.is_due(now):
                    why = _start(job, [*command, job.name, *_WORDS.get(job.name, ())], environment)
                    if why:
                        lost = event("command_not_started", Severity.ERROR, command=job.name, reason=why)
                        log.write([lost], time.time())
                        _notify(job, f"it could not be started: {why}", paths, log, by_hand)
                    job.started(now)
            time.sleep(POLL)
    finally:
        _end(jobs)
        for number, action in previous.items():
            signal.signal(number, action)
    if signal.SIGINT in stopping:
        _note_end(paths, log)
    log.write([event("monitor_stopped", Severity.NOTICE)], time.time())
    return 0


def _note_end(paths: Paths, log: Log) -> None:
    """Note that a person ended the watching with Ctrl-C; a container that is stopped gets SIGTERM instead."""
    now = time.time()
    try:
        with StateFile(paths.state, log).update(now) as state:
            tick.end_watching(state)
    except (StateError, OSError) as error:
        log.write([event("state_not_saved", Severity.ERROR, reason=str(error))], now)


def _jobs(paths: Paths, settings: Settings, *, shared: bool) -> tuple[_Job, ...]:
    """Return the commands to run, each with its interval, as the units have them."""
    return (
        *([_Job("lead", lead.EVERY)] if shared else []),
        _Job("check", settings.check_interval),
        _Job("deliver", settings.recover_interval, paths.deliver_wanted, first=settings.recover_interval),
        _Job("recover", settings.recover_interval, paths.recover_wanted, first=settings.recover_interval),
        _Job("look", LOOKS_AGAIN, first=LOOKS_AGAIN),
        _Job("dashboard", settings.dashboard_interval, first=min(5.0, settings.dashboard_interval)),
        _Job("stats", settings.stats_interval, first=settings.stats_interval),
        _Job("publish", view.EVERY, paths.publish_wanted, first=min(5.0, settings.check_interval)),
    )


def _start(job: _Job, command: Sequence[str], environment: dict[str, str]) -> str:
    """Start a command; return why it cannot be, which may change: no memory, too many files or processes."""
    try:
        job.start(command, environment)
    except OSError as error:
        job.failed = True
        return error.strerror or str(error)
    return ""


def _notify(job: _Job, reason: str, paths: Paths, log: Log, by_hand: Callable[[str], str]) -> None:
    """Queue an alert that a command failed, at most once an hour; without a reason, that it works again."""
    name = f"gpu-mesh {job.name}"
    try:
        if reason:
            step = f"see what it says: {by_hand(job.name)}; gpu-mesh run goes on starting it"
            unit_failures.note(paths, name, reason, job.last_lines, log, next_step=step)
        else:
            unit_failures.note_good_run(paths, name, log)
    except (StateError, OSError) as error:  # the cause of the command's failure may stop us here too
        log.write(
            [event("failure_not_alerted", Severity.ERROR, command=job.name, reason=str(error))], time.time()
        )
    else:
        job.may_have_failed = bool(reason)


def _ending(job: _Job, status: int) -> str:
    """Say in words how a command ended (as Popen numbers it)."""
    if job.hung:
        return f"it took longer than {format_duration(job.limit)}, and was ended"
    if status > 0:
        return systemd.ending("exit-code", "exited", str(status))
    try:
        name = signal.Signals(-status).name.removeprefix("SIG")
    except ValueError:  # a real-time signal has no name
        name = str(-status)
    return systemd.ending("signal", "killed", name)


def _end(jobs: tuple[_Job, ...]) -> None:
    running = [job for job in jobs if job.process is not None]
    for job in running:
        job.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while running and time.monotonic() < deadline:
        time.sleep(POLL)
        running = [job for job in running if job.ended() is None]
    for job in running:
        job.send_signal(signal.SIGKILL)
        while job.ended() is None:
            time.sleep(POLL)
