"""Watches in the foreground: starts the same commands as the systemd units do, at the same intervals.

Each runs as a process of its own, so that one that fails, hangs or is killed takes nothing with it.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from gpu_mesh.log import Log, Severity, event
from gpu_mesh.mesh import Settings
from gpu_mesh.paths import Paths

POLL = 0.1
"""Seconds between two looks for finished commands and for word of new work."""

PATIENCE = 10.0
"""Seconds that commands have to end once they are told to."""


class _Job:
    """One command that is started again and again, never twice at once."""

    def __init__(self, name: str, interval: float, wanted: Path | None = None, first: float = 0.0) -> None:
        self.name = name
        self.interval = interval
        self.wanted = wanted
        self.due = time.monotonic() + first
        self.process: subprocess.Popen[bytes] | None = None
        self.failed = False

    def is_due(self, now: float) -> bool:
        """Tell whether to start it: at its time, or on word of work; after a failure at its time alone."""
        return self.process is None and (now >= self.due or (not self.failed and self._is_wanted()))

    def started(self, now: float) -> None:
        """Set the next time; a start on word of work leaves it as it is."""
        if now >= self.due:
            self.due = max(self.due + self.interval, now)

    def _is_wanted(self) -> bool:
        return self.wanted is not None and self.wanted.exists()

    def ended(self) -> int | None:
        """Return the exit status if the command has ended since the last look."""
        if self.process is None or self.process.poll() is None:
            return None
        status, self.process = self.process.returncode, None
        self.failed = status != 0
        return status


@contextmanager
def alone(paths: Paths) -> Iterator[int]:
    """Be the only one that watches in the foreground; yield the number of the one that already does, or 0.

    Two at once would count every failure twice.
    """
    paths.state.mkdir(parents=True, exist_ok=True, mode=0o750)
    with (paths.state / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            number = lock.read().strip()
            yield int(number) if number.isdigit() else -1
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield 0


def run(paths: Paths, monitor: str | None, settings: Settings, log: Log) -> int:
    """Watch until SIGINT or SIGTERM, then let what runs come to its end.

    Args:
        paths: the monitor's folders.
        monitor: whose settings count, where the inventory has several monitors.
        settings: the monitor's; their intervals hold until the next start.
        log: the central log.
    """
    jobs = (
        _Job("check", settings.check_interval),
        _Job("deliver", settings.recover_interval, paths.deliver_wanted, first=settings.recover_interval),
        _Job("recover", settings.recover_interval, paths.recover_wanted, first=settings.recover_interval),
        _Job("dashboard", settings.dashboard_interval, first=min(5.0, settings.dashboard_interval)),
        _Job("stats", settings.stats_interval, first=settings.stats_interval),
    )
    command = [sys.executable, "-m", "gpu_mesh"]
    command += [part for source in paths.inventory for part in ("--inventory", source)]
    command += ["--monitor", monitor] if monitor else []
    environment = {**os.environ, **paths.environment()}
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    log.write([event("monitor_started", Severity.NOTICE, interval=settings.check_interval)], time.time())
    try:
        while not stopping:
            now = time.monotonic()
            for job in jobs:
                status = job.ended()
                if status:
                    failed = event("command_failed", Severity.ERROR, command=job.name, exit_status=status)
                    log.write([failed], time.time())
                if job.is_due(now):
                    # A session of its own: Ctrl-C is for this process alone, which tells the others.
                    try:
                        job.process = subprocess.Popen(
                            [*command, job.name], env=environment, start_new_session=True
                        )
                        job.failed = False
                    except OSError as error:  # no memory, no descriptors, too many processes: for now
                        job.failed = True
                        why = error.strerror or str(error)
                        lost = event("command_not_started", Severity.ERROR, command=job.name, reason=why)
                        log.write([lost], time.time())
                    job.started(now)
            time.sleep(POLL)
    finally:
        _end(jobs)
        for number, action in previous.items():
            signal.signal(number, action)
    log.write([event("monitor_stopped", Severity.NOTICE)], time.time())
    return 0


def _end(jobs: tuple[_Job, ...]) -> None:
    running = [job.process for job in jobs if job.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
