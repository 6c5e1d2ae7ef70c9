"""Prints one table of what gpu-mesh takes, beside what others take, and writes it to bench/RESULTS.md.

Usage: python bench/table.py [FULL=1 in the environment: the whole matrix, which takes longer]

Every row was measured in this run, ours and theirs in turn, so that what else the machine does weighs on
both: ratios count, seconds depend on the machine.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import beside
import best
import commands
import deciding
import history
import look
import measure
import page
import recover
import shared
import ticks
from gpu_mesh.text.sanitize import one_line
from measure import Row
from nodes import Nodes, serving

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = ("what", "ours", "beside", "ratio, median (least to most)", "budget", "")
WIDTHS = (46, 12, 62, 28, 10, 6)
HEALTHY = ((3, 0), (100, 0), (1000, 0))
WHOLE = (((1000, 100),), ((1000, 500),), ((10_000, 0),))
"""More meshes for the whole matrix, one after another: nodes, black holes."""


def rows(nodes: Nodes, folder: Path, *, full: bool) -> Iterator[Row]:
    """Measure everything."""
    rounds = 5 if full else 3
    field = beside.Field(nodes, HEALTHY, folder)
    try:  # Gatus needs minutes to begin with 1,000 nodes; it takes a hundredth of a core meanwhile
        yield from _whole("deciding", _apart(deciding.rows))
        yield from _whole("page", _apart(page.rows, rounds))
        yield from _whole("history", _apart(history.rows))
        yield from _whole("best", best.rows())
        yield from _whole("look", look.rows())
        yield from _whole("commands", commands.rows(nodes, folder, rounds))
        yield from _whole("simulate", commands.day_rows(folder, rounds))
        yield from _whole("other monitors", field.rows(5))
    finally:
        field.stop()
    yield from _whole("ticks", ticks.rows(nodes, folder, rounds))
    yield from _whole("black holes", ticks.silent_rows(nodes, folder, rounds))
    yield from _whole("several monitors", shared.rows(nodes, folder, rounds))
    yield from _whole("recovery", recover.rows())
    for sizes in WHOLE if full else ():
        field = beside.Field(nodes, sizes, folder)
        try:
            yield from _whole("other monitors", field.rows(5))
        finally:
            field.stop()


def _whole(name: str, measured: Iterator[Row]) -> Iterator[Row]:
    """Pass the rows on; one that cannot be measured ends this subject, and counts as missed."""
    try:
        yield from measured
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the others are worth having
        yield Row(name, "failed", one_line(str(error), 200), met=False)


EXPLAINED = (
    "A ratio is the median of pairs that were measured in turn, with the least and the most. A *cycle* is"
    " what a monitor does in its interval of 30 s: gpu-mesh asks each node twice and writes its history, the"
    " others ask once."
)


def _apart(measured: Callable[..., Iterator[Row]], *arguments: int) -> Iterator[Row]:
    """Measure in a process of its own, which may grow."""
    with ProcessPoolExecutor(1) as pool:
        yield from pool.submit(_listed, measured, *arguments).result()


def _listed(measured: Callable[..., Iterator[Row]], *arguments: int) -> list[Row]:
    return list(measured(*arguments))


def _line(words: Iterable[str]) -> str:
    return "  ".join(word.ljust(width) for word, width in zip(words, WIDTHS, strict=True)).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    return (row.what, row.ours, row.beside, row.ratio, row.budget, row.verdict)


def _markdown(found: list[Row], heading: str, about: list[str]) -> str:
    table = [HEAD, ("---",) * len(HEAD), *map(_cells, found)]
    return "\n".join(
        [
            "# Results of `make bench`",
            "",
            heading,
            "",
            *(f"- {line}" for line in about),
            f"- {EXPLAINED}",
            "",
            *(f"| {' | '.join(cells)} |" for cells in table),
            "",
        ]
    )


def main() -> int:
    full = os.environ.get("FULL", "") not in ("", "0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    began, clock = datetime.now(UTC), time.monotonic()
    measure.allow_files()
    about = [measure.machine(), measure.versions(), ", ".join(beside.versions())]
    print("\n".join(about), "", _line(HEAD), sep="\n", flush=True)
    found: list[Row] = []
    said = ""
    with serving() as nodes, tempfile.TemporaryDirectory() as name:
        for row in rows(nodes, Path(name), full=full):
            found.append(row)
            print(_line(_cells(row)), flush=True)
            bound = [row.met for row in found if row.met is not None]
            said = f"{len(bound)} rows have a budget, {bound.count(False)} of them are missed."
            kind, minutes = "the whole matrix" if full else "the short run", (time.monotonic() - clock) / 60
            heading = f"{began:%Y-%m-%d %H:%M} UTC, {kind}, {minutes:.0f} min. {said}"
            RESULTS.write_text(_markdown(found, heading, about))  # each time: a run that is ended leaves them
    print(f"\n{said} Written to bench/{RESULTS.name}")
    return int(any(row.met is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
