"""Lays lines out for a terminal: broken between words, with commands whole, since people paste them. Pure."""

from gpu_mesh.text.commands import with_commands
from gpu_mesh.text.table import cells, wrapped

_FURTHER = 3  # cells that the further lines stand to the right of the first
_LEAST = 20  # cells: on a narrower terminal lines are as long as this
_SPACE = "\0"  # stands for a space within a command while words are parted


def laid_out(line: str, width: int) -> list[str]:
    """Return a line as lines of at most so many cells; the further ones are indented.

    A command or another word that is longer than that stays whole, on a line of its own. So does a line with
    colours, which is laid out where it is made.

    Args:
        line: the line; spaces at its beginning indent all of it.
        width: cells of a line; 0: as many as need be.
    """
    if not width or cells(line) <= width or "\x1b" in line or not line.strip():
        return [line]
    indent = len(line) - len(line.lstrip(" "))
    parts = (part.replace(" ", _SPACE) if is_command else part for part, is_command in with_commands(line))
    found = wrapped("".join(parts), max(width - indent - _FURTHER, _LEAST), whole=True)
    begins = [" " * indent, *[" " * (indent + _FURTHER)] * (len(found) - 1)]
    return [begin + part.replace(_SPACE, " ") for begin, part in zip(begins, found, strict=True)]
