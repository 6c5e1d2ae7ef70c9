"""Measures, cuts and aligns text as a terminal shows it: an icon or a CJK letter is two cells wide. Pure."""

import unicodedata
from collections.abc import Sequence

_NO_CELL = frozenset({"Mn", "Me"})  # accents and other marks, which stand on the letter before them


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return one line for each row, aligned as on a terminal."""
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        "  ".join(
            cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def aligned_within(rows: Sequence[tuple[str, ...]], width: int, optional: Sequence[int] = ()) -> list[str]:
    """Return one line for each row, aligned, of at most so many cells.

    Args:
        rows: the cells of the table. The last column holds words, which are cut where they do not fit.
        width: of a line; 0: as wide as need be.
        optional: columns that are left out, in this order, before the last one has less than a few words.
    """
    left_out: set[int] = set()
    for column in (*optional, None):
        shown = [tuple(cell for place, cell in enumerate(row) if place not in left_out) for row in rows]
        lines = aligned(shown)
        words = max((cells(row[-1]) for row in shown), default=0)
        fits = max(map(cells, lines), default=0) - max(words - _WORDS, 0) <= width
        if not width or fits or column is None:
            break
        left_out.add(column)
    return [cut(line, width) for line in lines] if width else lines


_WORDS = 24
"""Cells that the last column keeps, if it has as many words, while another column can be left out."""


def cells(text: str) -> int:
    """Return how many cells of a terminal the text fills."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, width: int) -> str:
    """Return as much of the text as fits into so many cells; a cut is shown as ``…``."""
    if cells(text) <= width:
        return text
    return _beginning(text, width - 1).rstrip() + "…" if width > 0 else ""


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Return the text in exactly so many cells: cut, or with spaces after it (``right``: before it)."""
    shown = cut(text, width)
    space = " " * (width - cells(shown))
    return space + shown if right else shown + space


def wrapped(text: str, width: int, *, whole: bool = False) -> list[str]:
    """Return the text in lines of at most so many cells (2 at least), broken between words where possible.

    With ``whole``, a word that is longer than that is not broken.
    """
    lines, line = [], ""
    for word in text.split():
        together = f"{line} {word}" if line else word
        if cells(together) <= width:
            line = together
            continue
        if line:
            lines.append(line)
        while cells(word) > width and not whole:
            begin = _beginning(word, max(width, 2))
            lines.append(begin)
            word = word[len(begin) :]
        line = word
    return [*lines, line] if line else lines


def _beginning(text: str, width: int) -> str:
    """Return as much of the text as fits into so many cells, without a sign that it was cut."""
    used = 0
    for number, letter in enumerate(text):
        used += _width(letter)
        if used > width:
            return text[:number]
    return text


def _width(letter: str) -> int:
    if unicodedata.category(letter) in _NO_CELL:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
