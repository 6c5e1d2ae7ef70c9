"""The pages of docs/guides as a test follows them: shell blocks in order, and what they must print. Pure."""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

_FENCE = re.compile(r"^```(.*)$")
_NOT_RUN = re.compile(r"<!-- not run: (.*?) *-->")
_MARK = "@@ block of line"


class Block(Struct, frozen=True):
    """A shell block of a page."""

    line: int  # of its first fence in the page, from 1 on
    text: str
    expected: str | None = None  # what it must print; None: the page does not say
    not_run: str = ""  # why no test runs it


def blocks(page: str) -> tuple[Block, ...]:
    """Return the shell blocks of a page, in order.

    A block begins with three backticks and ``sh``. A block without a language says what the one before it
    prints. A comment ``<!-- not run: REASON -->`` just before a block says why no test runs it; then it may
    be in any language.

    Raises:
        ValueError: a block would be neither run nor compared, and there is no reason why.
    """
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None  # line, language, reason
    text: list[str] = []
    reason, is_output_due = "", False
    for number, line in enumerate(page.splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, text, reason = (number, fence[1], reason), [], ""
            elif line.strip():
                comment = _NOT_RUN.fullmatch(line.strip())
                reason = comment[1] if comment else ""
        elif fence is None:
            text.append(f"{line}\n")
        else:
            began, language, why = opened
            opened = None
            if why or language == "sh":
                found.append(Block(began, "".join(text), not_run=why))
                is_output_due = not why
            elif language == "" and is_output_due:
                last = found.pop()
                found.append(Block(last.line, last.text, "".join(text)))
                is_output_due = False
            else:
                raise ValueError(
                    f"line {began}: no test runs or compares this block, and no comment says why"
                )
    if opened is not None:
        raise ValueError(f"line {opened[0]}: this block has no end")
    return tuple(found)


def script(run: Sequence[Block]) -> str:
    """Return a bash script that runs the blocks in one shell, as a reader does, and ends where one fails."""
    parts = [f"printf '\\n%s\\n' '{_MARK} {block.line}'\n{block.text}" for block in run]
    return "set -e\n" + "".join(parts)


def printed(output: str) -> Mapping[int, str]:
    """Return what each block has printed, by its line, of the output of a script()."""
    parts = re.split(rf"(?m)^{_MARK} (\d+)\n", output)
    return {int(line): text.rstrip("\n") for line, text in zip(parts[1::2], parts[2::2], strict=True)}


def is_as_expected(expected: str, output: str) -> bool:
    """Return whether a block printed what its page says.

    In the page a line of ``...`` stands for any lines, or none; within a line ``...`` stands for any text.
    How many blanks there are counts for nothing: columns move with what stands in them.
    """
    wanted = [_squeezed(line) for line in expected.splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else f"{re.escape(line).replace(re.escape('...'), '.*?')}\n"
        for line in wanted
    )
    text = "".join(f"{_squeezed(line)}\n" for line in output.splitlines())
    return re.fullmatch(pattern, text) is not None


def _squeezed(line: str) -> str:
    return re.sub(r"\s+", " ", line).rstrip()
