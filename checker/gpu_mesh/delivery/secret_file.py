"""Reads a file with passwords or tokens, and says what is wrong with it, without quoting it. For deliver."""

import re
import stat
from pathlib import Path

import yaml
from msgspec import Struct

from gpu_mesh.system import files

LARGEST = 131072  # bytes; Apprise itself reads no more

Problem = tuple[int, str]  # line, and what is wrong there


class Content(Struct, frozen=True):
    """What was read."""

    text: str = ""
    problem: str = ""  # why it cannot be read, with the file; "": it can
    notes: tuple[str, ...] = ()  # what somebody should look at


def read(path: Path) -> Content:
    """Read the file; one that others may read works, too, but is noted."""
    try:
        mode = path.stat().st_mode
        with open(path, "rb", opener=files.without_waiting) as file:
            if not stat.S_ISREG(mode):
                return Content(problem=f"{path}: it is no regular file")
            content = file.read(LARGEST + 1)
    except OSError as error:
        return Content(problem=f"{path}: {error.strerror}")
    notes = (
        (f"{path}: other users may read its passwords and tokens; run: chmod 600 {path}",)
        if mode & 0o077
        else ()
    )
    if len(content) > LARGEST:
        return Content(problem=f"{path}: larger than {LARGEST} bytes", notes=notes)
    try:
        return Content(content.decode("utf-8-sig"), notes=notes)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return Content(problem=f"{path} line {line}: not UTF-8", notes=notes)


def of_yaml(error: Exception) -> Problem:
    """Say what PyYAML found wrong; its own words may quote the file."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = re.sub(r"(['\"]).*?\1", "***", error.problem or "it cannot be read")
        return mark.line + 1 if mark else 1, f"not valid YAML: {what}"
    return 1, f"not valid YAML ({type(error).__name__})"
