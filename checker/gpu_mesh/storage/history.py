"""Writes history.db, one transaction a check. Only the check writes it, after the state is saved.

A rollback journal, not WAL: then those who may only read can open the file. storage/past.py reads it.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import RECENT, Entry, Incident, Known
from gpu_mesh.storage import disk_errors, history_schema
from gpu_mesh.storage.history_schema import SCHEMA, VERDICTS
from gpu_mesh.system import files

NAME = "history.db"

PATIENCE = 0.05
"""Seconds to wait for a reader. Then this check's samples are lost, which nobody sees in the figures."""

HOUR, DAY = 3600, 86400

KEPT = {
    ("sample", "at"): 2 * DAY,
    ("hour", "at"): 396 * DAY,
    ("gpu", "at"): 396 * DAY,
    ("event", "at"): 396 * DAY,
    ("day", "at"): 1827 * DAY,
    ("incident", "began"): 1827 * DAY,
}
"""Seconds for which each table keeps its rows, by its column of times."""

LEAST = 1 / 8
"""The share of that time for which figures are kept, however full the file is."""

FREE = 64 * 2**20
"""Bytes that the disk must have left: the last ones are for the state and the log."""

_MIB = 2**20
_FULL = 0.9
"""The share of its size from which on the file is full: one check must fit into the rest."""


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
        files.set_aside(path)
        is_new = not path.exists()
        database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            if is_new:
                path.chmod(0o640)
            _bring_up(database, path)
            page = database.execute("PRAGMA page_size").fetchone()[0]
            database.execute(f"PRAGMA max_page_count = {most * _MIB // page}")
            database.execute("BEGIN IMMEDIATE")
            known = _known(database, now)
            if now // HOUR != known.at // HOUR:
                _fold(database, now)
                _forget(database, now)
            _make_room(database, most * _MIB, now)
            _insert(database, entry(known))
            database.execute("COMMIT")
        finally:
            database.close()


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
        old.unlink()
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
        database.executescript(f"BEGIN IMMEDIATE; {history_schema.CREATE} COMMIT;")


def _known(database: sqlite3.Connection, now: float) -> Known:
    progress = dict(database.execute("SELECT name, value FROM progress"))
    watched = database.execute("SELECT key FROM node WHERE current")
    return Known(
        at=progress.get("at", 0.0),
        alert=progress.get("alert", 0),
        silence=progress.get("silence", 0),
        nodes=frozenset(key for (key,) in watched),
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
    watched = new.known.nodes
    database.execute("UPDATE node SET current = 0 WHERE current")
    database.executemany(
        "INSERT INTO node (key, current) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET current = 1",
        [(key,) for key in sorted(watched)],
    )
    numbers = dict(database.execute("SELECT key, id FROM node"))
    database.executemany(
        "INSERT OR REPLACE INTO sample VALUES (?, ?, ?, ?, ?, ?)",
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
    """Fold the checks of the hours that are over into these, and the hours of the days into those."""
    for source, target, size in (("sample", "hour", HOUR), ("hour", "day", DAY)):
        until = int(now) // size * size
        times = {"since": min(folded_until(database, target), until), "until": until}
        database.execute(f"INSERT OR REPLACE INTO {target} {history_schema.fold(source, size)}", times)
        database.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", (target, until))


def folded_until(database: sqlite3.Connection, table: str) -> int:
    """Return up to when what is finer has been folded into this table: Unix seconds."""
    found = database.execute("SELECT value FROM progress WHERE name = ?", (table,)).fetchone()
    return int(found[0]) if found else 0


def _forget(database: sqlite3.Connection, now: float, share: float = 1.0) -> None:
    """Delete what is older than this share of its time, and what a wrong clock has dated to come.

    Of figures at least a part is kept: only events can be so many that nothing else makes room.
    """
    for (table, at), seconds in KEPT.items():
        kept = seconds * (share if table == "event" else max(share, LEAST))
        rule = f"DELETE FROM {table} WHERE {at} < ? OR {at} > ?"  # noqa: S608 - constants
        database.execute(rule, (now - kept, now + DAY))


def _make_room(database: sqlite3.Connection, most: int, now: float) -> None:
    """Delete the oldest rows of every table where the file is nearly as large as it may be (bytes)."""
    share = 1.0
    while _used(database) > most * _FULL and share > 1e-6:
        share /= 2
        _forget(database, now, share)


def _used(database: sqlite3.Connection) -> int:
    """Return the bytes that the file uses; pages that are free will be used again."""
    names = ("page_count", "freelist_count", "page_size")
    count, free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int((count - free) * size)
