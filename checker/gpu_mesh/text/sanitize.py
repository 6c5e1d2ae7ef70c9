"""Makes text from outside safe as a single line, such as a mail's subject or a table's cell. Pure."""

import re
import unicodedata

_BREAKS = frozenset({"Cc", "Zl", "Zp"})  # control characters, line and paragraph separators
_INVISIBLE = frozenset({"Cf", "Cs"})  # they change the direction of text, hide it, or cannot be encoded
_UNKNOWN = frozenset({"Co", "Cn"})  # no sign is agreed on for them; XML refuses some
_JOINER = "\u200d"  # it joins the parts of an emoji
_NO_SIGN = "\ufffd"


def one_line(text: str, limit: int) -> str:
    """Return the text as one visible line of at most ``limit`` characters; a cut is shown as ``…``.

    Control characters and line breaks become spaces, several spaces become one, invisible characters go, and
    each that stands for no agreed sign becomes ``\ufffd``. So it is printable, but for the joiners of emoji.
    """
    seen = (_shown(char) for char in text[: 4 * limit])
    line = " ".join("".join(seen).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _shown(char: str) -> str:
    category = unicodedata.category(char)
    if category in _BREAKS:
        return " "
    if category in _UNKNOWN:
        return _NO_SIGN
    return "" if category in _INVISIBLE and char != _JOINER else char


LONGEST_REASON = 200
"""Characters of what ``plain`` returns."""


def plain(text: str) -> str:
    """Return the text as one line of at most LONGEST_REASON characters, without terminal sequences."""
    return one_line(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text), LONGEST_REASON)
