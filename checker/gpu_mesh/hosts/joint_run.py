"""Runs one recovery playbook for several nodes at once, each from start to end as if it were alone.

Starting Ansible costs several times what the tasks of one node do. So nodes that need the same share a start.

1. As many hosts as there may be repairs at the same time begin, and wait: each asks on a socket whether its
   node has been claimed, and with which values (lookup_plugins/gpu_mesh_claim.py of the playbooks).
2. The caller claims a node, and offers its values to the host: now it begins, and has a deadline of its own.
3. An event says that a host has ended; its outcome is there then, whatever the others do. The next one asks.

A host that outlives its deadline, although Ansible ends each of its tasks in time, keeps the run from
letting others begin; the run is ended when the last deadline is over.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gpu_mesh.domain.mesh import Settings
from gpu_mesh.hosts import playbook, playbook_result
from gpu_mesh.hosts.playbook_result import PlaybookResult

GRACE = 25.0
"""Seconds beyond its deadline in which a host ends: it lets go of its lease, and says so."""

SOCKET = "claims"
"""The socket's name in the run's private folder; the playbooks know it."""

_ASKS_WITHIN = 5.0  # seconds: a host says its name at once
_LONGEST_NAME = 4096  # bytes


class _Seat:
    """One host of the run."""

    def __init__(self) -> None:
        self.asks: socket.socket | None = None  # where its answer goes, while it waits
        self.has_come = threading.Event()  # it has asked, or never will
        self.is_over = threading.Event()
        self.refused = False
        self.deadline = 0.0  # by time.monotonic(); 0.0: it has not begun
        self.events: list[dict[str, Any]] = []
        self.result: PlaybookResult | None = None

    @property
    def is_at_work(self) -> bool:
        return self.deadline > 0 and not self.is_over.is_set()


class JointRun:
    """One run; ``run`` carries it out in a thread of its own, while others call ``offer`` and ``refuse``."""

    def __init__(
        self,
        path: Path,
        keys: Sequence[str],
        settings: Settings,
        inventory: tuple[str, ...],
        *,
        on_monitor: bool,
        extra: Mapping[str, Any],
        changed: Callable[[], None],
        stop: Callable[[], bool],
    ) -> None:
        """Prepare it.

        Args:
            path: the playbook's, absolute; one that came with the checker.
            keys: the nodes that may be repaired by it, no two on one machine; their names are no patterns.
            settings: the monitor's: how many at the same time, and how long each may take.
            inventory: the sources in Ansible's sense.
            on_monitor: act on this host over a local connection, whatever the inventory says.
            extra: extra vars that all share.
            changed: called when a host asks, and in the end.
            stop: asked twice a second; once it is true, all is ended.
        """
        self._path, self._settings, self._inventory = path, settings, inventory
        self._on_monitor, self._extra = on_monitor, extra
        self._changed, self._stop = changed, stop
        self._limit = settings.recovery_timeout
        self._seats = {key: _Seat() for key in keys}
        self._lock = threading.Lock()
        self._closing = False  # nobody begins any more
        self._was_stopped, self._was_stuck = False, False
        self._active_at = time.monotonic()  # when somebody last came, began or ended

    @property
    def is_closed(self) -> bool:
        """Whether nobody begins any more."""
        return self._closing

    def waiting(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the nodes whose hosts ask whether to begin, and those whose hosts have not asked yet."""
        with self._lock:
            asking = frozenset(key for key, seat in self._seats.items() if seat.asks)
            if self._closing:
                return asking, frozenset()
            return asking, frozenset(
                key for key, seat in self._seats.items() if not (seat.has_come.is_set() or seat.refused)
            )

    def offer(self, key: str, values: Mapping[str, Any]) -> PlaybookResult | None:
        """Let a host begin as soon as it asks; return what came of it, when it has ended.

        None: it never asked, or nobody begins any more. It was not touched, and may be repaired alone.

        Args:
            key: the node's, which has been claimed.
            values: its own variables.
        """
        seat = self._seats[key]
        seat.has_come.wait()
        with self._lock:
            asks, seat.asks = seat.asks, None
            began = time.monotonic()
            if asks is not None:
                self._active_at, seat.deadline = began, began + self._limit
        if asks is not None:
            _answer(asks, [{**values, "gpu_mesh_deadline": seat.deadline}])
            seat.is_over.wait()
        return seat.result and replace(seat.result, seconds=time.monotonic() - began)

    def refuse(self, key: str) -> None:
        """Tell a host not to begin; now, or when it asks."""
        seat = self._seats[key]
        with self._lock:
            seat.refused = True
            asks, seat.asks = seat.asks, None
        if asks is not None:
            _answer(asks, [])

    def close(self) -> None:
        """Let nobody begin any more."""
        with self._lock:
            self._closing = True
        for key in self.waiting()[0]:
            self.refuse(key)

    def run(self) -> None:
        """Carry it out, until all its hosts have ended; what is not told of then was cut off."""
        reason = ""
        try:
            with playbook.private_folder() as folder, self._listening(folder / SOCKET):
                local = playbook.here(folder) if self._on_monitor else {}
                common = playbook.values_of_all(self._settings, self._limit)
                values = {**common, **local, **self._extra, "gpu_mesh_claims": str(folder)}
                runner, printed = playbook.start(
                    folder,
                    self._path,
                    ",".join(self._seats),
                    self._inventory,
                    values,
                    self._keep,
                    0.0,
                    self._must_end,
                    forks=max(1, self._settings.recovery_concurrency),
                    strategy="host_pinned",
                )
                self._end(runner.rc, printed)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the claims must end with an outcome
            reason = f"{type(error).__name__}: {error}"
        finally:
            self._end(None, reason)
            self._changed()

    def _keep(self, event: dict[str, Any]) -> None:
        seat = self._seats.get(playbook_result.host_of(event))
        if seat is None or not seat.is_at_work:
            return
        if playbook_result.counts(event):
            seat.events.append(event)
        if key := playbook_result.ended(event):
            result = playbook_result.read_host(
                self._path, key, seat.events, self._contacted(key), self._limit, time.time()
            )
            self._conclude(seat, result)

    def _conclude(self, seat: _Seat, result: PlaybookResult) -> None:
        with self._lock:
            seat.result, self._active_at = result, time.monotonic()
            seat.events = []  # a host may have printed megabytes, and a run may have a hundred hosts
            seat.is_over.set()

    def _contacted(self, key: str) -> str:
        return "the monitor" if self._on_monitor else key

    def _end(self, rc: int | None, printed: str) -> None:
        """Conclude what has not ended by itself: the run has."""
        self.close()
        for key, seat in self._seats.items():
            ended_early = self._was_stopped or self._was_stuck
            if not seat.is_over.is_set() and (seat.is_at_work or ended_early):
                self._conclude(seat, self._result_of_cut_off(key, seat, rc, printed))
            seat.has_come.set()

    def _result_of_cut_off(self, key: str, seat: _Seat, rc: int | None, printed: str) -> PlaybookResult:
        contacted, now = self._contacted(key), time.time()
        if rc == 0:
            return playbook_result.read_host(self._path, key, seat.events, contacted, self._limit, now)
        result = playbook_result.read_result(self._path, key, seat.events, rc, printed, contacted, now)
        if self._was_stopped or self._was_stuck:
            return playbook_result.cut_off(result, self._limit, stopped=self._was_stopped)
        return result

    def _must_end(self) -> bool:
        if self._stop():
            self.close()
            self._was_stopped = True
            return True
        with self._lock:
            now, active_at = time.monotonic(), self._active_at
            deadlines = [seat.deadline for seat in self._seats.values() if seat.is_at_work]
        if any(now > each + GRACE for each in deadlines):
            self.close()
        self._was_stuck = is_stuck(
            deadlines, asked=bool(self.waiting()[0]), idle_until=active_at + self._limit, now=now
        )
        return self._was_stuck

    @contextmanager
    def _listening(self, path: Path) -> Iterator[None]:
        opened = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"/proc/self/fd/{opened}/{path.name}")  # a socket's path may have 107 bytes
            os.close(opened)
            listening.listen(len(self._seats))
            thread = threading.Thread(target=self._listen, args=(listening,))
            thread.start()
            try:
                yield
            finally:
                listening.shutdown(socket.SHUT_RDWR)  # wakes the thread
                thread.join()

    def _listen(self, listening: socket.socket) -> None:
        while True:
            try:
                asks, _ = listening.accept()
            except OSError:
                return
            self._welcome(asks)

    def _welcome(self, asks: socket.socket) -> None:
        """Let a host wait, or refuse it at once."""
        asks.settimeout(_ASKS_WITHIN)
        name = ""
        with suppress(OSError), asks.makefile("rb") as said:
            name = said.readline(_LONGEST_NAME).decode(errors="replace").strip()
        seat = self._seats.get(name)
        with self._lock:
            self._active_at = time.monotonic()
            waits = seat is not None and not (seat.has_come.is_set() or seat.refused or self._closing)
            if seat is not None:
                seat.asks = asks if waits else seat.asks
                seat.has_come.set()
        if not waits:
            _answer(asks, [])
        self._changed()


def _answer(asks: socket.socket, values: list[Mapping[str, Any]]) -> None:
    with asks, suppress(OSError):  # whoever asked has died; the run will say so
        asks.sendall(json.dumps(values).encode())


def is_stuck(deadlines: Collection[float], *, asked: bool, idle_until: float, now: float) -> bool:
    """Return whether a run must be ended, because nothing is left in it that may still come to an end.

    Args:
        deadlines: of the hosts at work.
        asked: whether a host waits to be told to begin.
        idle_until: how long the run may go on while nobody works or waits: it starts, or ends.
        now: by the same clock.
    """
    if any(now <= each + GRACE for each in deadlines):
        return False
    return bool(deadlines) or (not asked and now > idle_until + GRACE)
