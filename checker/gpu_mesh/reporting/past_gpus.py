"""Writes what the history has of GPUs: for each card its highest figures over some time. Pure.

The history keeps the highest figures of each hour in which somebody has looked.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from itertools import groupby

from gpu_mesh.domain.history import GpuSample
from gpu_mesh.text.humanize import format_duration, plural
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned_within
from gpu_mesh.text.zones import local, name_of

_GIB = 2**30
_NOT_TOLD = "–"


def cards(
    of: Sequence[GpuSample],
    names: Mapping[str, str],
    since: float,
    now: float,
    zone: tzinfo | None,
    width: int = 0,
) -> str:
    """Write a line for each card.

    Args:
        of: what was seen of each card in each hour, those of one card together.
        names: of nodes by key, for people.
        since: from when on they were asked for.
        now: Unix seconds.
        zone: of the times.
        width: cells of a line; 0: nothing is cut.
    """
    begin = f"{local(since, zone):%Y-%m-%d %H:%M}"
    head = f"The highest figures since {begin} {name_of(zone, now)} ({format_duration(now - since)}):"
    if not of:
        return f"{head}\nnobody has seen a GPU, as far as the history reaches"
    header = ("node", "in use", "busy", "heat", "power", "slowed down", "seen in", "card")
    rows = [
        _row(one_line(names.get(node, node), 24) or node, card, list(hours))
        for (node, card), hours in groupby(of, key=lambda each: (each.node, each.card))
    ]
    return "\n".join([head, "", *aligned_within([header, *rows], width, optional=(4, 6, 2))])


def _row(node: str, card: str, hours: Sequence[GpuSample]) -> tuple[str, ...]:
    used, total = _highest(each.used for each in hours), _highest(each.total for each in hours)
    memory = _NOT_TOLD if used is None else f"{used / _GIB:.1f} GiB"
    slowed = sum(each.throttled for each in hours)
    return (
        node,
        memory if used is None or not total else f"{used / _GIB:.1f} of {total / _GIB:.1f} GiB",
        _figure(_highest(each.busy for each in hours), "%"),
        _figure(_highest(each.temperature for each in hours), " °C"),
        _figure(_highest(each.power for each in hours), " W"),
        f"in {plural(slowed, 'hour')}" if slowed else "never",
        plural(len(hours), "hour"),
        one_line(card, 60),
    )


def _highest(values: Iterable[float | None]) -> float | None:
    """Return the highest of what was told; None: nothing was."""
    return max((value for value in values if value is not None), default=None)


def _figure(value: float | None, unit: str) -> str:
    return _NOT_TOLD if value is None else f"{value:.0f}{unit}"
