"""Makes text from outside harmless where one line is expected: a mail subject, a table cell. Pure."""

import re
import unicodedata

_BREAKS = frozenset({"Cc", "Zl", "Zp"})  # control characters, line and paragraph separators
_UNSEEN = frozenset({"Cf", "Cs"})  # they turn the direction of text, hide it, or cannot be encoded
_JOINER = "\u200d"  # emoji are joined with it


def one_line(text: str, limit: int) -> str:
    """Return the text as one visible line of at most ``limit`` characters; a cut is shown as ``…``.

    Control characters and line breaks become spaces, runs of spaces one, invisible formatting goes.
    """
    seen = (_shown(char) for char in text[: 4 * limit])
    line = " ".join("".join(seen).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _shown(char: str) -> str:
    category = unicodedata.category(char)
    if category in _BREAKS:
        return " "
    return "" if category in _UNSEEN and char != _JOINER else char


LONGEST_REASON = 200


def plain(text: str) -> str:
    """Return the text as one line of at most 200 characters without anything that acts on a terminal."""
    return one_line(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text), LONGEST_REASON)
