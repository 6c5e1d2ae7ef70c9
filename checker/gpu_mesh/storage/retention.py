"""Bounds history.db: each table keeps its rows for a time, and the file stays below its size."""

import sqlite3

from gpu_mesh.storage.history_schema import DAY, HOUR

KEPT = {
    ("sample", "at"): 2 * DAY,
    ("hour", "at"): 396 * DAY,
    ("gpu", "at"): 396 * DAY,
    ("event", "at"): 396 * DAY,
    ("day", "at"): 1827 * DAY,
    ("incident", "began"): 1827 * DAY,
}
"""Seconds for which each table keeps its rows, by its column of times."""

LEAST = 1 / 64
"""The share of that time for which figures are kept, however full the file is."""

_FULL = 0.9
"""The share of its size from which on the file is full: one check must fit into the rest."""

ROWS = 5000
"""Rows of a table that are deleted at once, and pages that are given back to the disk, to make room."""

STEP = 2.0 * HOUR
"""Seconds by which the time that rows are judged by goes on from one entry to the next, at most."""


def passed(database: sqlite3.Connection, last: float, now: float) -> float:
    """Return the Unix time by which rows are judged as old: it follows the clock, in small steps.

    So a clock that is wrong by years for a while deletes nothing. After a month in which the monitor was off,
    rows are kept a month longer.
    """
    stored = database.execute("SELECT value FROM progress WHERE name = 'passed'").fetchone()
    at = stored[0] + min(max(now - last, 0.0), STEP) if stored else now
    database.execute("INSERT OR REPLACE INTO progress VALUES ('passed', ?)", (at,))
    return min(at, now)


def forget(database: sqlite3.Connection, now: float, share: float = 1.0, most: int = -1) -> None:
    """Delete what is older than this share of its time.

    Args:
        database: in a transaction.
        now: Unix seconds, as ``passed`` returns them.
        share: of figures at least LEAST counts: only events can be so many that nothing else makes room.
        most: rows of each table that are deleted at most; -1: all.
    """
    for (table, at), seconds in KEPT.items():
        kept = seconds * (share if table == "event" else max(share, LEAST))
        key = "rowid" if table == "event" else f"({at}, node)"
        oldest = f"SELECT {key.strip('()')} FROM {table} WHERE {at} < ? ORDER BY {at} LIMIT ?"  # noqa: S608
        database.execute(f"DELETE FROM {table} WHERE {key} IN ({oldest})", (now - kept, most))  # noqa: S608


def make_room(database: sqlite3.Connection, most: int, now: float) -> bool:
    """Delete the oldest rows where the file is nearly full (bytes); return whether pages can be given back.

    Some thousand rows a check: a file that is far too large shrinks over many checks, and delays none.
    """
    begin, share = database.total_changes, 1.0
    while _used(database) > most * _FULL and share > 1e-6 and database.total_changes - begin < ROWS:
        share /= 2
        forget(database, now, share, ROWS)
    return database.total_changes > begin or _size(database) > most


def _size(database: sqlite3.Connection) -> int:
    return _pragma(database, "page_count") * _pragma(database, "page_size")


def _used(database: sqlite3.Connection) -> int:
    """Return the bytes that the file uses; pages that are free will be used again."""
    return _size(database) - _pragma(database, "freelist_count") * _pragma(database, "page_size")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])
