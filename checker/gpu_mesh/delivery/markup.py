"""Escapes text from outside for Markdown and HTML: it shows literally, without formats, links and mentions.

Pure; for render.py. Backslashes alone are not enough: chat services also look for mentions and addresses, in
addition to CommonMark or instead of it. So an invisible space splits what they look for. Commands are shown
as code, without that space, because people copy them.
"""

import re

from markupsafe import Markup, escape

from gpu_mesh.text.commands import with_commands

UNSEEN_SPACE = "\u200b"

_MENTION_OR_LINK = re.compile(r"(?<=[@<])|(?<=\])(?=\()")
"""Where chat services begin a mention (``@channel``, ``<!channel>``) or a link (``[text](address)``)."""

_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where services turn a bare web address into a link."""

_SIGN = re.compile(r"(?<=[#~])(?=\w)|(?<=&)(?=#?\w{1,32};)|(?<=:)(?=[\w+-]*[A-Za-z][\w+-]*:)")
"""Where Markdown services see a channel (``#ops``, ``~ops``), an entity (``&lt;``), an emoji (``:fire:``)."""

_ACTIVE = re.compile(r"[\\`*~|<>\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What formats text anywhere in a line. Within a word, as in ``gpu_01``, an underscore does not."""

_ACTIVE_FIRST = re.compile(r"^(?=[#+=-])|(?<=^\d)(?=[.)])|(?<=^\d\d)(?=[.)])|(?<=^\d\d\d)(?=[.)])")
"""What makes a heading, a list or a rule at the beginning of a line."""

_LONG_NUMBER_FIRST = re.compile(r"^(\d{4,9})(?=[.)])")

CODE = Markup(
    '<code style="font-family:Consolas,Menlo,monospace;background:rgba(128,128,128,.2);'
    'padding:1px 4px;border-radius:3px">{}</code>'
)


def quiet(text: str) -> str:
    """Return plain text that mentions nobody and hides no address behind a word."""
    return _MENTION_OR_LINK.sub(UNSEEN_SPACE, text)


def markdown(text: str) -> str:
    """Return one line as Markdown that shows it literally, at the beginning of a line too."""
    split = _SIGN.sub(UNSEEN_SPACE, quiet_everywhere(text))
    escaped = _ACTIVE.sub(lambda found: "\\" + found[0], split)
    return _LONG_NUMBER_FIRST.sub(r"\1\\", _ACTIVE_FIRST.sub(r"\\", escaped))


def quiet_everywhere(text: str) -> str:
    """Return text without mentions and links, for places where a bare address becomes a link too."""
    return _ADDRESS.sub(UNSEEN_SPACE, quiet(text))


def step_in_markdown(step: str) -> str:
    """Return what a person can do, as Markdown, its commands as code."""
    return "".join(f"`{part}`" if is_command else markdown(part) for part, is_command in with_commands(step))


def step_in_html(step: str) -> Markup:
    """Return what a person can do, as HTML, its commands as code."""
    return Markup("").join(
        CODE.format(part) if is_command else escape(quiet_everywhere(part))
        for part, is_command in with_commands(step)
    )
