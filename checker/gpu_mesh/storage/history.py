"""Writes history.db, one transaction a check. Only the check writes it, after the state is saved.

A rollback journal, not WAL: then those who may only read can open the file. storage/past.py reads it.
"""

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import RECENT, Entry, Incident, Known
from gpu_mesh.storage import disk_errors, history_schema, retention
from gpu_mesh.storage.history_schema import DAY, HOUR, SCHEMA, VERDICTS
from gpu_mesh.system import files

NAME = "history.db"

PATIENCE = 0.05
"""Seconds to wait for a reader. Then this check's samples are missing from the history."""

FREE = 64 * 2**20
"""Bytes that the disk must have left: the last ones are for the state and the log."""

LATE = 600.0
"""Seconds after the end of an hour until it is folded: a check that began in it may take that long."""

_MIB = 2**20


class HistoryError(Exception):
    """The history cannot be written or read; the message says why, ``next_step`` what to do."""

    def __init__(self, reason: str, next_step: str) -> None:
        """Take why, and what to do."""
        super().__init__(f"{reason}; {next_step}")
        self.reason, self.next_step = reason, next_step


class DamagedError(HistoryError):
    """The file was damaged, and has been set aside; a new one takes its place."""


def add(folder: Path, most: int, entry: Callable[[Known], Entry], now: float) -> None:
    """Add what a check saw, and cut off what is too old or too much.

    Args:
        folder: the state folder.
        most: the size that the file may have, in MiB.
        entry: returns what to add, when it is told what is known already.
        now: Unix seconds.

    Raises:
        HistoryError: it could not be written, and is as it was before.
    """
    path = folder / NAME
    with reasons(path, now):
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize < FREE:
            raise OSError(errno.ENOSPC, f"less than {FREE // _MIB} MiB are left on its disk")
        for place in (path, path.with_name(f"{NAME}-journal")):
            if not is_file(place):
                files.set_aside(place)
        is_new = not path.exists()
        database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            if is_new:
                path.chmod(0o640)
            _bring_up(database, path)
            page = database.execute("PRAGMA page_size").fetchone()[0]
            database.execute("BEGIN IMMEDIATE")
            known = _known(database, now)
            passed = retention.passed(database, known.at, now)
            if retention.make_room(database, most * _MIB, passed):
                database.execute("COMMIT")
                # By execute() only one page is given back, however many are named.
                database.executescript(f"PRAGMA incremental_vacuum({retention.ROWS});")
                database.execute("BEGIN IMMEDIATE")
            database.execute(f"PRAGMA max_page_count = {most * _MIB // page}")
            _insert(database, entry(known))
            _fold(database, now)
            if now // HOUR != known.at // HOUR:
                retention.forget(database, passed)
            database.execute("COMMIT")
        finally:
            database.close()


def is_file(path: Path) -> bool:
    """Return whether a regular file lies there, or nothing; SQLite would wait for a pipe's other end."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


@contextmanager
def reasons(path: Path, now: float | None = None) -> Iterator[None]:
    """Turn what SQLite and the disk say into a HistoryError.

    Args:
        path: the file.
        now: Unix seconds, of whoever may set a damaged file aside; None: it is left.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _reason(error, path, now) from error
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be written: {error.strerror}", disk_errors.next_step(error, path)
        ) from error


def _reason(error: sqlite3.DatabaseError, path: Path, now: float | None) -> HistoryError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the lower byte says what it is
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(error, path, now)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return HistoryError(
            f"{path} is locked by another process", f"see which one, if that lasts: fuser -v {path}"
        )
    if code == sqlite3.SQLITE_FULL:
        return HistoryError(
            f"{path} has no room: its disk is full, or it has reached mesh_monitor_history_max",
            f"make room: df -h {path.parent}; or raise mesh_monitor_history_max",
        )
    if code == sqlite3.SQLITE_READONLY and now is None and path.with_name(f"{NAME}-journal").exists():
        return HistoryError(f"{path}: a check was cut off while it wrote", "the next check mends it")
    if number := _NUMBERS.get(code):
        return HistoryError(f"{path}: {error}", disk_errors.next_step(OSError(number, ""), path))
    return HistoryError(
        f"{path}: {error}", f"if gpu-mesh has not written it, move it away: ls -l {path.parent}"
    )


_NUMBERS = {
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
"""By what SQLite says: the error of the disk whose next step fits."""


def _damaged(error: sqlite3.DatabaseError, path: Path, now: float | None) -> HistoryError:
    if now is None:
        return HistoryError(
            f"{path} is damaged ({error})", "the next check sets it aside and begins a new one"
        )
    for old in path.parent.glob("history.damaged-*.db"):  # one is enough: it may be large
        files.remove(old)
    aside = path.with_name(f"history.damaged-{int(now)}.db")
    path.rename(aside)
    files.remove(path.with_name(f"{NAME}-journal"))  # SQLite would undo with it what is written from now on
    return DamagedError(
        f"was damaged ({error}); it is {aside} now, and a new one begins",
        f"what can be read of it: sqlite3 {aside} .recover; else remove it",
    )


def _bring_up(database: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file.

    Raises:
        HistoryError: a newer version of the program wrote it.
    """
    schema = database.execute("PRAGMA user_version").fetchone()[0]
    if schema > SCHEMA:
        raise HistoryError(
            f"{path} was written by a newer gpu-mesh (schema {schema}, this one writes {SCHEMA})",
            "use that one, or move the file away to begin a new history",
        )
    if schema == 0:
        database.executescript(history_schema.CREATE)


def _known(database: sqlite3.Connection, now: float) -> Known:
    progress = dict(database.execute("SELECT name, value FROM progress"))
    watched = database.execute("SELECT key, status FROM node WHERE status IS NOT NULL")
    return Known(
        at=progress.get("at", 0.0),
        alert=progress.get("alert", 0),
        silence=progress.get("silence", 0),
        nodes={key: Status(status) for key, status in watched},
        lasting=tuple(incidents_of(database, "ended IS NULL", ())),
        recent=tuple(incidents_of(database, "ended > ?", (now - RECENT,))),
    )


_INCIDENT = "key, began, ended, cause, worst, detail, alerted, repairs, mended"


def incidents_of(database: sqlite3.Connection, where: str, values: tuple[object, ...]) -> Iterator[Incident]:
    """Return the incidents for which this condition holds, in the order of their beginnings."""
    tables = "incident JOIN node ON node.id = node"
    query = f"SELECT {_INCIDENT} FROM {tables} WHERE {where} ORDER BY began"  # noqa: S608 - constants
    rows = database.execute(query, values)
    for key, began, ended, cause, worst, detail, alerted, repairs, mended in rows:
        named = cause_of(cause)
        yield Incident(key, began, ended, named, Status(worst), detail, alerted, repairs, mended)


def cause_of(name: str | None) -> Cause | None:
    """Return a cause by its name; None: there is none, or only another version knows it."""
    return next((cause for cause in Cause if cause.value == name), None)


_MORE = ", ".join(
    (
        *(
            f"{name} = coalesce(max({name}, excluded.{name}), {name}, excluded.{name})"
            for name in ("used", "total", "temperature", "power", "busy")
        ),
        "throttled = throttled + excluded.throttled",
    )
)
"""Of several looks in an hour the highest figures, and how many saw the card throttled."""


def _insert(database: sqlite3.Connection, new: Entry) -> None:
    gone = [(key,) for (key,) in database.execute("SELECT key FROM node") if key not in new.known.nodes]
    database.executemany("UPDATE node SET status = NULL WHERE key = ?", gone)
    database.executemany(
        "INSERT INTO node (key, status) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET status = excluded.status WHERE status IS NOT excluded.status",
        sorted(new.known.nodes.items()),
    )
    numbers = dict(database.execute("SELECT key, id FROM node"))
    database.executemany(
        # Two checks in one second, one of them by hand.
        "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " seconds = seconds + excluded.seconds, verdict = max(verdict, excluded.verdict),"
        " cause = coalesce(excluded.cause, cause), ms = coalesce(excluded.ms, ms)",
        [
            (
                int(each.at),
                numbers[each.node],
                round(each.seconds),
                VERDICTS.index(each.verdict),
                each.cause,
                None if each.ms is None else round(each.ms),
            )
            for each in new.samples
        ],
    )
    database.executemany(
        "INSERT OR REPLACE INTO incident VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (numbers[each.node], *msgspec.structs.astuple(each)[1:])
            for each in (*new.ended, *new.known.lasting)
        ],
    )
    database.executemany(
        "INSERT INTO event VALUES (?, ?, ?, ?)",
        [(each.at, each.kind, numbers.get(each.node), each.words) for each in new.events],
    )
    database.executemany(
        f"INSERT INTO gpu VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {_MORE}",  # noqa: S608
        [
            (int(each.at) // HOUR * HOUR, numbers[each.node], each.card, *msgspec.structs.astuple(each)[3:])
            for each in new.gpus
        ],
    )
    progress = {"at": new.known.at, "alert": new.known.alert, "silence": new.known.silence}
    database.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?)", progress.items())


def _fold(database: sqlite3.Connection, now: float) -> None:
    """Fold checks into the hours that are over, and hours into days."""
    for source, target, size in (("sample", "hour", HOUR), ("hour", "day", DAY)):
        # A check is dated with its beginning, and may be written after the hour is over.
        until = int(now - LATE) // size * size
        since = folded_until(database, target, until)
        if since < until:
            query = f"INSERT OR REPLACE INTO {target} {history_schema.fold(source, size)}"
            database.execute(query, {"since": since, "until": until})


def folded_until(database: sqlite3.Connection, table: str, before: float) -> int:
    """Return up to when this table has been folded, of what it has from before a Unix time."""
    size = DAY if table == "day" else HOUR
    query = f"SELECT max(at) FROM {table} WHERE at < ?"  # noqa: S608 - constants
    newest = database.execute(query, (before,)).fetchone()[0]
    return 0 if newest is None else int(newest) + size
