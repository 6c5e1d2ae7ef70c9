"""Colours text for a terminal, and only there. Pure: what the environment says is an argument.

The rules are those of https://no-color.org and https://force-color.org.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct


class Style(Enum):
    """How text is shown; the value is what a terminal is told. No view needs it to be understood."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    GOOD = "32"
    WARN = "33"
    BAD = "31;1"
    SELECTED = "7"


class Paint(Struct, frozen=True):
    """Whether text is coloured. Called with a text and a style, it returns the text as it is written."""

    on: bool

    def __call__(self, text: str, style: Style) -> str:
        """Return the text in that style; as it is where there are no colours."""
        return f"\x1b[{style.value}m{text}\x1b[0m" if self.on and style.value else text


NO_PAINT = Paint(on=False)


def paint(environ: Mapping[str, str], *, terminal: bool) -> Paint:
    """Return whether to colour what is written.

    Args:
        environ: the process's environment.
        terminal: whether a terminal shows what is written.
    """
    if environ.get("NO_COLOR"):
        return NO_PAINT
    forced = environ.get("FORCE_COLOR", "0") != "0"
    return Paint(on=forced or (terminal and environ.get("TERM") != "dumb"))
