"""What systemd and the journal say of a unit."""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from gpu_mesh.domain.state import FailedUnit
from gpu_mesh.text.sanitize import one_line

UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,200}")
"""The name of a unit; never an option, for it becomes an argument of systemctl."""


LINES = 3
"""How many lines of the journal go into an alert."""


LINE_LIMIT = 110
"""Characters of each: the alert as a whole stays within what a message shows of it."""


PATIENCE = 2.0
"""Seconds for systemctl; a check waits for it."""


JOURNAL_PATIENCE = 10.0
"""Seconds for journalctl; a journal on a slow disk takes its time."""


_ENDINGS = {
    "exit-code": "exit status {}",
    "signal": "it was killed (SIG{})",
    "core-dump": "it crashed (SIG{})",
    "timeout": "it did not end in time",
    "oom-kill": "the machine was out of memory",
}


_NOT_STARTED = range(200, 250)  # what systemd itself exits with where it cannot start a program


# The program says no secret. A traceback of a library may: an address with a password, a token, a path.
_SECRETS = (
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)\S+"), r"\1…"),
    (re.compile(r"\b(with url: )\S+"), r"\1…"),
    (
        re.compile(
            r"(\w*(?:password|passwd|passphrase|secret|token|api_?key|authorization)\w*[\"']?\s*[:=]\s*)"
            r"(?:(?:basic|bearer)\s+)?\S+",
            re.IGNORECASE,
        ),
        r"\1…",
    ),
)


def ending(result: str, code: str, status: str) -> str:
    """Say in words how a run of a unit ended ("": not known).

    Args:
        result: ``$MONITOR_SERVICE_RESULT`` of systemd.exec(5).
        code: ``$MONITOR_EXIT_CODE``: exited, killed or dumped.
        status: ``$MONITOR_EXIT_STATUS``: a number, or the name of a signal.
    """
    words = _ENDINGS.get(result, result).format(status)
    if code == "exited" and status.isdecimal() and int(status) in _NOT_STARTED:
        words += ", systemd could not start it"
    return one_line(words, LINE_LIMIT)


def last_lines(unit: str, invocation: str, *, user: bool) -> tuple[str, ...]:
    """Return the last lines that a unit left in the journal, oldest first; none where it cannot be read.

    Args:
        unit: its whole name.
        invocation: of the run in question ("": whichever was last).
        user: whether it is a unit of the user's own systemd.
    """
    # By what a unit's own processes wrote: what systemd says of it is in the reason already.
    matches = [f"_SYSTEMD_UNIT={unit}"]
    if user:
        # The journal names no user's unit where the process had ended before it looked at what that wrote.
        matches = [f"_SYSTEMD_USER_UNIT={unit}", "+", *matches, f"_UID={os.getuid()}"]
    printed = _output(
        ["journalctl", "--quiet", "--no-pager", "--output=json", "--all", f"--lines={4 * LINES}", *matches],
        JOURNAL_PATIENCE,
    )
    return last_lines_of(_lines_of_run(printed.splitlines(), invocation))


class _Entry(Struct):
    """What is read of an entry of the journal (systemd.journal-fields(7))."""

    message: str | list[int] | None = field(default=None, name="MESSAGE")  # bytes, where it is no text
    invocation: str = field(default="", name="_SYSTEMD_INVOCATION_ID")


def _lines_of_run(printed: Sequence[str], invocation: str) -> tuple[str, ...]:
    """Return the lines of one run of a unit ("": of whichever was last), oldest first.

    The journal does not know the run either where the process had ended before: such an entry belongs to the
    run when no other run wrote after it.
    """
    lines: list[str] = []
    for text in reversed(printed):
        try:
            entry = msgspec.json.decode(text, type=_Entry)
        except msgspec.MsgspecError:
            continue
        invocation = invocation or entry.invocation
        if entry.invocation not in ("", invocation):
            break
        message = entry.message or ""
        said = message if isinstance(message, str) else bytes(message).decode(errors="replace")
        lines += reversed(said.splitlines())
    return tuple(reversed(lines))


def last_lines_of(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the last few lines that say anything, harmless."""
    said = [harmless(line) for line in lines]
    return tuple([line for line in said if line][-LINES:])


def harmless(line: str) -> str:
    """Return a line of the journal as one bounded, visible line without what may be a secret."""
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line[: 8 * LINE_LIMIT])
    return one_line(line, LINE_LIMIT)


def working(units: Mapping[str, FailedUnit], now: float, *, good: bool) -> frozenset[str]:
    """Return those of some failed units that have run well since they failed.

    Args:
        units: by whole name.
        now: Unix seconds.
        good: whether the run of this process is one, if a unit started it.
    """
    # What is no unit's name is a command of gpu-mesh run, which sees itself how that ends.
    units = {unit: known for unit, known in units.items() if UNIT.fullmatch(unit)}
    found = {unit for unit in units if good and unit == _own_unit()}
    for user in {known.user for known in units.values()}:
        asked = [unit for unit, known in units.items() if known.user is user]
        shown = _output(
            [
                "systemctl",
                *(["--user"] if user else []),
                "show",
                "--property=Id,ActiveState,Result,ExecMainExitTimestampMonotonic",
                "--",
                *asked,
            ],
            PATIENCE,
        )
        for block in shown.split("\n\n"):
            fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            unit = fields.get("Id", "")
            if unit in asked and _ran_well(fields, now - units[unit].at):
                found.add(unit)
    return frozenset(found)


def _ran_well(fields: Mapping[str, str], since_failure: float) -> bool:
    """Tell whether systemd has seen a good end since the failure (seconds ago).

    The time is what counts: a restart of the machine and ``reset-failed`` make a unit look well, too.
    """
    ended = fields.get("ExecMainExitTimestampMonotonic", "")
    if (fields.get("ActiveState"), fields.get("Result")) != ("inactive", "success") or not ended.isdecimal():
        return False
    ago = time.clock_gettime(time.CLOCK_MONOTONIC) - int(ended) / 1e6
    # A failure in the future was noted before the clock was set back: nothing is known of the order then.
    return int(ended) > 0 and (ago < since_failure or since_failure < 0)


def _own_unit() -> str:
    """Return the unit that this process runs in; in a terminal that is a scope."""
    try:
        return Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition("/")[2]
    except OSError:
        return ""


def _output(command: list[str], seconds: float) -> str:
    """Return what a command printed; "" where it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=seconds,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
