"""Writes events to the central log, one logfmt line each, and important ones to the journal or terminal.

The file is opened for each batch of lines, so that a rotation by rename loses no line.
"""

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gpu_mesh.domain.event import Event, Severity, Value
from gpu_mesh.system.files import without_waiting


def logfmt(item: Event, at: float) -> str:
    """Render an event as one line, without its newline: ``ts=… level=… event=… key=value …``.

    Args:
        item: the event.
        at: Unix seconds.
    """
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"ts={stamp} level={item.severity.name.lower()} " + _pairs(item)


def _pairs(item: Event) -> str:
    return " ".join([f"event={item.name}", *(f"{key}={_quoted(value)}" for key, value in item.fields)])


def _quoted(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    if text.isascii() and text.isprintable() and not set(text) & set(' "=\\'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


class Log:
    """Writes events to the central log, and those from a threshold on also to standard error."""

    def __init__(self, path: Path, *, threshold: Severity = Severity.NOTICE) -> None:
        self._path = path
        self._threshold = threshold
        self.to_journal = _stderr_is_journal()
        self._failed = False

    def write(self, events: Iterable[Event], at: float) -> None:
        """Append the events to the file; write those at the threshold or above to standard error, too.

        The file comes first. If it cannot be written, standard error says so once. No failure to write, to
        the file or to standard error, raises an error.
        """
        events = tuple(events)
        if not events:
            return
        unwritable = self._append(events, at)
        for item in events:
            if item.severity <= self._threshold:
                self._say(item.severity, _pairs(item))
        if unwritable and not self._failed:
            self._say(Severity.ERROR, f"the log {self._path} cannot be written: {unwritable}")
        self._failed = self._failed or bool(unwritable)

    def _append(self, events: tuple[Event, ...], at: float) -> str:
        """Append the events to the file; return why that failed ("": it did not)."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8", errors="backslashreplace", opener=_no_link) as file:
                file.write("".join(logfmt(item, at) + "\n" for item in events))
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _say(self, severity: Severity, text: str) -> None:
        prefix = f"<{severity.value}>" if self.to_journal else ""
        if sys.stderr is None:  # it was closed before the program began
            return
        try:
            sys.stderr.write(f"{prefix}{text}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # Flushing the rest of its buffer would fail at the end of the process, so replace the stream.
            with suppress(OSError):
                sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - stays open


def _no_link(path: str, flags: int) -> int:
    """Open the log; a link there is followed only if it is root's, as in a container.

    Another one may lead to a file that the process which made it may not write, but this one may.
    """
    try:
        return without_waiting(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        if os.lstat(path).st_uid == 0:
            return without_waiting(path, flags)
        raise OSError(errno.ELOOP, "it is a link that is not root's, and is not followed", path) from None


def _stderr_is_journal() -> bool:
    """Return whether standard error is the journal's socket (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        stat = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"
