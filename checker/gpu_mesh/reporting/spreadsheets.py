"""Writes what the history holds as CSV, for spreadsheets. Pure. Times are in UTC, durations in seconds."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC

from gpu_mesh.domain.history import GpuSample, Incident, PastEvent
from gpu_mesh.reporting.availability import Figures
from gpu_mesh.text.zones import local


def events(of: Sequence[PastEvent]) -> str:
    """Write events for a spreadsheet; times are in UTC."""
    return _csv(
        ("at", "kind", "node", "words"), ((_iso(each.at), each.kind, each.node, each.words) for each in of)
    )


def incidents(of: Sequence[Incident]) -> str:
    """Write incidents for a spreadsheet; times are in UTC."""
    header = ("node", "began", "ended", "cause", "worst", "detail", "alerted", "repairs", "mended")
    rows = (
        (
            each.node,
            _iso(each.began),
            _iso(each.ended),
            each.cause or "",
            each.worst,
            each.detail,
            _iso(each.alerted),
            each.repairs,
            each.mended,
        )
        for each in of
    )
    return _csv(header, rows)


def gpus(of: Sequence[GpuSample]) -> str:
    """Write what was seen of each card in each hour: bytes, degrees Celsius, watts and per cent."""
    names = [name for name in GpuSample.__struct_fields__ if name != "at"]
    rows = ([_iso(each.at), *(getattr(each, name) for name in names)] for each in of)
    return _csv(("at", *names), rows)


def figures(of: Sequence[Figures]) -> str:
    """Write figures for a spreadsheet: per cent, seconds and milliseconds."""
    names = [name for name in Figures.__struct_fields__ if name != "causes"]
    rows = (
        [each.node or "(all)", *(getattr(each, name) for name in names[1:]), _mostly(each)] for each in of
    )
    return _csv((*names, "mostly"), rows)


def _mostly(of: Figures) -> str:
    return (of.causes[0].cause or "") if of.causes else ""


def _csv(header: Sequence[str], rows: Iterator[Sequence[object]]) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell is None else _harmless(cell) for cell in row] for row in rows])
    return made.getvalue()


def _harmless(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula; a figure has as many places as it is worth."""
    if isinstance(cell, float):
        return round(cell, 3)
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell


def _iso(at: float | None) -> str:
    return "" if at is None else local(at, UTC).isoformat(timespec="seconds")
