"""Reads history.db, for those who may only look, too. It never writes, and waits a moment for the check."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu_mesh.domain.history import EventKind, GpuSample, Incident, PastEvent, Period, Sample
from gpu_mesh.storage.history import (
    NAME,
    HistoryError,
    folded_until,
    incidents_of,
    is_file,
    reasons,
)
from gpu_mesh.storage.history_schema import DAY, FIGURES, HOUR, OF_PERIODS, SCHEMA, VERDICTS, fold

PATIENCE = 2.0
"""Seconds to wait for the check."""


class Past:
    """What history.db holds. Times are Unix seconds; a node is given by its key, "": all nodes."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def periods(self, since: float, until: float, size: int = 0, node: str = "") -> tuple[Period, ...]:
        """Return what was counted in that time, in the order of nodes and times.

        Args:
            since: as long as each check is kept, counted from there; else from the beginning of its hour.
            until: counted to the end of its hour.
            size: the length of each period in seconds, HOUR or DAY; 0: one period holds the whole time.
            node: its key.
        """
        begin, end = int(since) // HOUR * HOUR, -(-int(until) // HOUR) * HOUR
        exact = self._has_each_check(since)
        parts = list(self._parts(begin + HOUR if exact else begin, end, by_hour=size == HOUR))
        if exact:
            parts.append(_checks(int(since), min(begin + HOUR, end)))
        only = "WHERE node = (SELECT id FROM node WHERE key = :key)" if node else ""
        query = f"""
            SELECT key, {f"at - at % {size}" if size else ":begin"} AS period, {OF_PERIODS}
            FROM (SELECT * FROM ({" UNION ALL ".join(parts)}) {only}) JOIN node ON node.id = node
            GROUP BY key, period ORDER BY key, period
        """  # noqa: S608 - numbers and constants
        rows = self._database.execute(query, {"begin": begin, "key": node})
        return tuple(
            Period(
                key,
                at,
                size or until - since,
                watched,
                down,
                impaired,
                answers,
                ms_sum,
                ms_max,
                tuple(classes),
            )
            for key, at, watched, down, impaired, answers, ms_sum, ms_max, *classes in rows
        )

    def _parts(self, begin: int, end: int, *, by_hour: bool) -> Iterator[str]:
        """Return queries that together have each check of a time once, from the coarsest table that fits."""
        columns = f"at, node, {', '.join(FIGURES)}"

        def part(table: str, since: int, until: int) -> str:
            return f"SELECT {columns} FROM {table} WHERE at >= {since} AND at < {until}"  # noqa: S608

        if by_hour:
            yield part("hour", begin, end)
        else:
            first = -(-begin // DAY) * DAY
            last = max(first, min(end // DAY * DAY, folded_until(self._database, "day", end)))
            yield part("day", first, last)
            yield part("hour", begin, min(first, end))
            yield part("hour", max(begin, last), end)
        yield _checks(max(begin, folded_until(self._database, "hour", end)), end)

    def _has_each_check(self, since: float) -> bool:
        oldest = self._database.execute("SELECT min(at) FROM sample").fetchone()[0]
        return oldest is not None and oldest <= since

    def course(self, since: float, until: float, seconds: int) -> dict[str, tuple[Sample, ...]]:
        """Return the checks of that time, by node, summed up, one for so many seconds.

        The response time of each is the mean of its answers. So an hour of a thousand nodes is soon read.
        """
        query = """
            SELECT key, max(at), sum(seconds), max(verdict), avg(ms) FROM sample JOIN node ON node.id = node
            WHERE at >= ? AND at <= ? GROUP BY node, at / ? ORDER BY at / ?
        """
        found: dict[str, list[Sample]] = {}
        for key, at, passed, verdict, ms in self._database.execute(query, (since, until, seconds, seconds)):
            found.setdefault(key, []).append(Sample(key, at, passed, VERDICTS[verdict], None, ms))
        return {key: tuple(samples) for key, samples in found.items()}

    def incidents(self, since: float, until: float, node: str = "") -> tuple[Incident, ...]:
        """Return the incidents that lasted at some moment of that time, in the order of their beginnings."""
        where = "began < ? AND (ended IS NULL OR ended >= ?) AND ? IN ('', key)"
        return tuple(incidents_of(self._database, where, (until, since, node)))

    def events(self, since: float, until: float, node: str = "", most: int = -1) -> tuple[PastEvent, ...]:
        """Return the newest events of that time, oldest first: at most so many (-1: all).

        What only a newer version knows the kind of is left out.
        """
        query = f"""
            SELECT at, kind, ifnull(key, ''), words FROM event LEFT JOIN node ON node.id = node
            WHERE at >= ? AND at < ? AND ? IN ('', key) AND kind IN ({", ".join("?" * len(EventKind))})
            ORDER BY at DESC, event.rowid DESC LIMIT ?
        """  # noqa: S608 - question marks
        rows = self._database.execute(query, (since, until, node, *EventKind, most)).fetchall()
        return tuple(PastEvent(at, EventKind(kind), key, words) for at, kind, key, words in reversed(rows))

    def gpus(self, since: float, until: float, node: str = "") -> tuple[GpuSample, ...]:
        """Return the highest figures of each card in each hour of that time, those of one card together.

        Counted from the beginning of its first hour.
        """
        query = """
            SELECT key, card, at, used, total, temperature, power, busy, throttled
            FROM gpu JOIN node ON node.id = node
            WHERE at >= ? AND at < ? AND ? IN ('', key) ORDER BY key, card, at
        """
        rows = self._database.execute(query, (int(since) // HOUR * HOUR, until, node))
        return tuple(
            GpuSample(key, card, at, used, total, temperature, power, busy, bool(throttled))
            for key, card, at, used, total, temperature, power, busy, throttled in rows
        )


def _checks(since: int, until: int) -> str:
    """Return the query that folds the checks of a time."""
    return fold("sample", HOUR).replace(":since", str(since)).replace(":until", str(until))


@contextmanager
def opened(folder: Path) -> Iterator[Past | None]:
    """Open the history of a state folder; None: there is none yet.

    Raises:
        HistoryError: it cannot be read.
    """
    path = folder / NAME
    with reasons(path):
        if not path.exists():
            yield None
            return
        if not is_file(path) or not is_file(path.with_name(f"{NAME}-journal")):
            raise HistoryError(
                f"{path} or its journal is no file", f"see what put it there: ls -l {path.parent}"
            )
        place = f"{path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(place, uri=True, timeout=PATIENCE, isolation_level=None)
        try:
            schema = database.execute("PRAGMA user_version").fetchone()[0]
            if schema > SCHEMA:
                raise HistoryError(
                    f"{path} was written by a newer gpu-mesh (schema {schema}, this one reads {SCHEMA})",
                    "use that one",
                )
            database.execute("BEGIN")  # all that is read is of one moment
            yield Past(database) if schema else None
        finally:
            database.close()
