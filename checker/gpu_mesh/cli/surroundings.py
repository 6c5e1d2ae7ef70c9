"""Makes the surroundings of a process usable: its standard streams and its working folder. For main.py.

A line of cron may close streams (``gpu-mesh check >&-``), a disk may be full, a shell may stand in a folder
that is gone. None of that keeps a command from its work.
"""

import os
import sys
from typing import Any, TextIO, cast

_STANDARD_ERROR = 2


def prepare() -> None:
    """Open the standard streams that are closed, let standard error never fail, leave a lost folder."""
    # Otherwise the next file that is opened, by a child too, would take a stream's place.
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(number, True)  # noqa: FBT003 - the function takes no name for it
    os.close(number)
    for name, how in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # Python found it closed
            setattr(sys, name, open(os.devnull, how, encoding="utf-8"))  # noqa: SIM115, PTH123 - stays open
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = cast("TextIO", _Errors(sys.stderr))
    try:
        os.getcwd()  # noqa: PTH109 - only whether it is there
    except OSError:
        os.chdir("/")


class _Errors:
    """Standard error. What cannot be written to it is lost: there is nowhere left to say so."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or lose, the text; return its length."""
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Write, or lose, what is buffered."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        # What is buffered would fail again at the end of the process.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
