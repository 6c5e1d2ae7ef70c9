"""Aligns the columns of a table for a terminal. Pure."""

import unicodedata
from collections.abc import Sequence


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return one line for each row, aligned as on a terminal: an icon or a CJK letter is two cells wide."""
    widths = [max(map(_cells, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        "  ".join(
            cell + " " * (width - _cells(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cells(text: str) -> int:
    return sum(map(_width, text))


def _width(letter: str) -> int:
    if unicodedata.combining(letter) or letter == "\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
