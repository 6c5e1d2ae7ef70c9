"""Draws shares and courses with lines and blocks, one cell each. Pure."""

from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
NOTHING, FAILED = "·", "×"
"""What stands in a spark for a time without a value, and for one with a failure."""


def bar(share: float, width: int) -> str:
    """Return a bar of so many cells, of which a share (0 to 1) is filled; more than nothing shows."""
    within = min(1.0, max(0.0, share))
    filled = max(round(within * width), 1 if within else 0)
    return "━" * filled + "─" * (width - filled)


def spark(values: Sequence[float | None], top: float) -> str:
    """Return a letter for each value: its height between 0 and ``top``; None: there is no value."""
    most = len(_LEVELS) - 1
    return "".join(
        NOTHING if value is None else _LEVELS[min(most, int(value / top * (most + 1))) if top > 0 else 0]
        for value in values
    )
