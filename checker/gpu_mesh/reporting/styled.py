"""Defines lines of text whose parts have styles, for views that are drawn. Pure."""

from collections.abc import Iterable

from msgspec import Struct

from gpu_mesh.text import sanitize
from gpu_mesh.text.paint import Style
from gpu_mesh.text.table import cells, cut

_LONGEST = 1000
"""Characters of a text from outside that are looked at."""

_JOINER, _EMOJI = "\u200d", "\ufe0f"  # terminals disagree about how wide what they make is


class Part(Struct, frozen=True):
    """Text in one style."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Part, ...]


def literal(text: str) -> str:
    """Return a text from outside as one line of visible letters, each of a width that terminals agree on."""
    return sanitize.one_line(text, _LONGEST).replace(_JOINER, "").replace(_EMOJI, "")


def width_of(line: Iterable[Part]) -> int:
    """Return how many cells the line fills."""
    return sum(cells(part.text) for part in line)


def clipped(line: Line, width: int) -> Line:
    """Return as much of the line as fits into so many cells; a cut is shown as ``…``."""
    kept: list[Part] = []
    left = width
    for number, part in enumerate(line):
        more_follows = any(each.text for each in line[number + 1 :])
        if cells(part.text) + more_follows > left:
            return (*kept, Part(cut(part.text + " " * more_follows * left, left), part.style))
        kept.append(part)
        left -= cells(part.text)
    return tuple(kept)


def selected(line: Line, width: int) -> Line:
    """Return the line as the one that is selected: in one style, to the end of the screen."""
    text = "".join(part.text for part in line)
    return (Part(text + " " * max(0, width - cells(text)), Style.SELECTED),)
