"""The tables of history.db, and the SQL that folds checks into hours and hours into days. Values only.

Every table is in the order of time: what a check adds, and what is deleted for its age, lies together in few
pages of the file.
"""

from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.history import BOUNDS

SCHEMA = 1

HOUR, DAY = 3600, 86400

VERDICTS = (Verdict.OK, Verdict.IMPAIRED, Verdict.FAILED)
"""Each verdict by its number in the table."""

_CLASSES = (*(f"below_{bound:.0f}" for bound in BOUNDS), "slower")
FIGURES = ("watched", "down", "impaired", "answers", "ms_sum", "ms_max", *_CLASSES)
"""The columns of hours and days, as Period has them; of the classes each counts its own answers alone."""

_PERIOD = f"""(
    at INTEGER NOT NULL, node INTEGER NOT NULL, {", ".join(f"{name} NOT NULL" for name in FIGURES)},
    PRIMARY KEY (at, node)
) WITHOUT ROWID"""

CREATE = f"""
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN IMMEDIATE;
CREATE TABLE node (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, status TEXT);
CREATE TABLE sample (
    at INTEGER NOT NULL, node INTEGER NOT NULL, seconds INTEGER NOT NULL, verdict INTEGER NOT NULL,
    cause TEXT, ms INTEGER, PRIMARY KEY (at, node)
) WITHOUT ROWID;
CREATE TABLE hour {_PERIOD};
CREATE TABLE day {_PERIOD};
CREATE TABLE incident (
    node INTEGER NOT NULL, began REAL NOT NULL, ended REAL, cause TEXT, worst TEXT NOT NULL,
    detail TEXT NOT NULL, alerted REAL, repairs INTEGER NOT NULL, mended TEXT NOT NULL,
    PRIMARY KEY (began, node)
) WITHOUT ROWID;
CREATE INDEX incident_ended ON incident (ended);
CREATE TABLE event (at REAL NOT NULL, kind TEXT NOT NULL, node INTEGER, words TEXT NOT NULL);
CREATE INDEX event_at ON event (at);
CREATE TABLE gpu (
    at INTEGER NOT NULL, node INTEGER NOT NULL, card TEXT NOT NULL, used INTEGER, total INTEGER,
    temperature INTEGER, power REAL, busy INTEGER, throttled INTEGER NOT NULL, PRIMARY KEY (at, node, card)
) WITHOUT ROWID;
CREATE TABLE progress (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA};
COMMIT;
"""

_MS_CLASSES = tuple(
    f"ifnull(sum(ms >= {low:.0f} AND ms < {high:.0f}), 0)" if high else f"ifnull(sum(ms >= {low:.0f}), 0)"
    for low, high in zip((0.0, *BOUNDS), (*BOUNDS, None), strict=True)
)

OF_SAMPLES = ", ".join(
    (
        "sum(seconds)",
        f"sum(seconds * (verdict = {VERDICTS.index(Verdict.FAILED)}))",
        f"sum(seconds * (verdict = {VERDICTS.index(Verdict.IMPAIRED)}))",
        "count(ms)",
        "ifnull(sum(ms), 0)",
        "ifnull(max(ms), 0)",
        *_MS_CLASSES,
    )
)
"""FIGURES of a group of checks."""

OF_PERIODS = ", ".join(f"max({name})" if name == "ms_max" else f"sum({name})" for name in FIGURES)
"""FIGURES of a group of hours or days."""


def fold(table: str, size: int) -> str:
    """Return the query that folds what a table has from ``:since`` on, before ``:until``, by node.

    Args:
        table: ``sample``, ``hour`` or ``day``.
        size: the length of what it is folded into, in seconds.
    """
    figures = OF_SAMPLES if table == "sample" else OF_PERIODS
    begin = f"at - at % {size}"
    times = "at >= :since AND at < :until"
    return f"SELECT {begin}, node, {figures} FROM {table} WHERE {times} GROUP BY {begin}, node"  # noqa: S608
