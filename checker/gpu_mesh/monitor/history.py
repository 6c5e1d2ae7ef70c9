"""Writes what a check saw into the history. Nothing that goes wrong here is the check's trouble."""

from contextlib import suppress

import msgspec

from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.history import Entry, Known, Unwritten
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import recording
from gpu_mesh.monitor.tick import TickResult
from gpu_mesh.storage import history
from gpu_mesh.storage.history import DamagedError, HistoryError
from gpu_mesh.system import atomic, files
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

_LARGEST = 100_000
"""Bytes that history.error may have."""


def add(paths: Paths, mesh: Mesh, state: State, ticked: TickResult, log: Log, now: float) -> None:
    """Write what a check saw, after the state is saved; keep why that was not possible, for the next check.

    Args:
        paths: the monitor's folders.
        mesh: the nodes and the monitor's settings.
        state: as it was saved.
        ticked: what the check changed.
        log: the central log, which gets the first error and the end of the trouble.
        now: Unix seconds.
    """

    def entry(known: Known) -> Entry:
        return recording.record(known, mesh, state, ticked.changes, now)

    before = unwritten(paths)
    try:
        history.add(paths.state, mesh.settings.history_max, entry, now)
    except HistoryError as error:
        reason, step, damaged = error.reason, error.next_step, isinstance(error, DamagedError)
    except Exception as error:  # noqa: BLE001 - whatever it is, the check is done
        reason, step, damaged = f"{type(error).__name__}: {error}", "report this as a bug", False
    else:
        if before:
            log.write([event("history_written", Severity.NOTICE)], now)
            with suppress(OSError):
                files.remove(paths.history_error)
        return
    if before is None or before.reason != reason:
        log.write([event("history_not_written", Severity.ERROR, reason=reason, next=step)], now)
    found = Unwritten(before.since if before else now, reason, step, damaged)
    with suppress(OSError):  # then the disk is full, which the state says, too
        path = paths.history_error
        atomic.write(path, msgspec.json.encode(found), temporary=path.with_name(f".{path.name}.new"))


def unwritten(paths: Paths) -> Unwritten | None:
    """Return why the newest check is not in the history; None: it is."""
    try:
        return msgspec.json.decode(files.read(paths.history_error, _LARGEST), type=Unwritten)
    except (OSError, ValueError):
        return None
