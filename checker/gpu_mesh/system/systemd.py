"""Asks systemd and the journal about a unit: how its run ended, its last lines, whether it works again.

For the alerts about the monitor's own units (monitor/unit_failures.py, monitor/check.py).
"""

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
"""The name of a unit. It cannot be an option, since it becomes an argument of systemctl."""

LINES = 3
"""Lines of the journal in an alert."""

LINE_LIMIT = 110
"""Characters of each line, so that the whole alert fits into a message."""

PATIENCE = 2.0
"""Seconds for systemctl: a check waits for it."""

JOURNAL_PATIENCE = 10.0
"""Seconds for journalctl: a journal on a slow disk takes longer."""

_ENDINGS = {
    "exit-code": "exit status {}",
    "signal": "it was killed (SIG{})",
    "core-dump": "it crashed (SIG{})",
    "timeout": "it did not end in time",
    "oom-kill": "the machine was out of memory",
}


_NOT_STARTED = range(200, 250)  # the exit statuses of systemd itself if it cannot start a program

# The program itself prints no secret. A library's traceback may: an address with a password, a token, a path.
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
    """Return in words how a run of a unit ended ("": not known).

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
    """Return the last lines that a unit wrote to the journal, oldest first; none if it cannot be read.

    Args:
        unit: its full name.
        invocation: the id of the run ("": the last one).
        user: whether it is a unit of the user's own systemd.
    """
    # Only what the unit's own processes wrote: the reason already has what systemd says.
    matches = [f"_SYSTEMD_UNIT={unit}"]
    if user:
        # If a process ends before the journal handles its lines, they carry no name of a user's unit.
        matches = [f"_SYSTEMD_USER_UNIT={unit}", "+", *matches, f"_UID={os.getuid()}"]
    printed = _output(
        ["journalctl", "--quiet", "--no-pager", "--output=json", "--all", f"--lines={4 * LINES}", *matches],
        JOURNAL_PATIENCE,
    )
    return last_lines_of(_lines_of_run(printed.splitlines(), invocation))


class _Entry(Struct):
    """The fields of a journal entry that are read (systemd.journal-fields(7))."""

    message: str | list[int] | None = field(default=None, name="MESSAGE")  # bytes, if it is not text
    invocation: str = field(default="", name="_SYSTEMD_INVOCATION_ID")


def _lines_of_run(printed: Sequence[str], invocation: str) -> tuple[str, ...]:
    """Return the lines of one run of a unit ("": of the last one), oldest first.

    If a process ends before the journal handles its lines, they carry no id of a run. Such a line counts for
    this run if no other run wrote after it.
    """
    lines: list[str] = []
    for line in reversed(printed):
        try:
            entry = msgspec.json.decode(line, type=_Entry)
        except msgspec.MsgspecError:
            continue
        invocation = invocation or entry.invocation
        if entry.invocation not in ("", invocation):
            break
        message = entry.message or ""
        text = message if isinstance(message, str) else bytes(message).decode(errors="replace")
        lines += reversed(text.splitlines())
    return tuple(reversed(lines))


def last_lines_of(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the last few lines that are not empty, sanitized by ``harmless``."""
    visible = [harmless(line) for line in lines]
    return tuple([line for line in visible if line][-LINES:])


def harmless(line: str) -> str:
    """Return a line of the journal as one visible line of limited length, without what may be a secret."""
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line[: 8 * LINE_LIMIT])
    return one_line(line, LINE_LIMIT)


def working(units: Mapping[str, FailedUnit], now: float, *, good: bool) -> frozenset[str]:
    """Return which of the failed units have ended a run well since they failed.

    Args:
        units: by full name.
        now: Unix seconds.
        good: whether this process ends well; it counts for the unit that started it, if there is one.
    """
    # Other names are commands of gpu-mesh run, which itself notices how they end.
    units = {unit: known for unit, known in units.items() if UNIT.fullmatch(unit)}
    found = {unit for unit in units if good and unit == _own_unit()}
    for user in {known.user for known in units.values()}:
        asked = [unit for unit, known in units.items() if known.user is user]
        shown = _output(
            [
                "systemctl",
                *(["--user"] if user else []),
                "show",
                f"--property={_PROPERTIES}",
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


_PROPERTIES = "Id,ActiveState,Result,ExecMainExitTimestampMonotonic,ActiveEnterTimestampMonotonic"


def _ran_well(fields: Mapping[str, str], since_failure: float) -> bool:
    """Return whether a run of the unit has ended well since the failure (seconds ago).

    The time decides: a reboot or ``reset-failed`` also makes a unit look well, without any run. A path or a
    timer works as long as it is active.
    """
    runs = fields.get("Id", "").endswith(".service")
    ended = fields.get("ExecMainExitTimestampMonotonic" if runs else "ActiveEnterTimestampMonotonic", "")
    well = ("inactive" if runs else "active", "success")
    if (fields.get("ActiveState"), fields.get("Result")) != well or not ended.isdecimal():
        return False
    ago = time.clock_gettime(time.CLOCK_MONOTONIC) - int(ended) / 1e6
    # If the failure lies in the future, the clock was set back since: then the order is not known.
    return int(ended) > 0 and (ago < since_failure or since_failure < 0)


def _own_unit() -> str:
    """Return the unit in which this process runs; in a terminal that is a scope. "": not known."""
    try:
        return Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition("/")[2]
    except OSError:
        return ""


def _output(command: list[str], seconds: float) -> str:
    """Return what a command printed; "": it is missing, failed or took too long."""
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
