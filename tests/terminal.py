"""A terminal that a program runs in: its keys, its size, and what is on its screen."""

import fcntl
import os
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pyte

from sites import eventually

ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"
"""What a program sends to get a screen of its own, and to give it back."""


class Terminal:
    """Runs a program in a terminal of its own.

    pyte does not know the command to repeat a letter, which programs send to an xterm, but not to a screen.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        width: int = 80,
        height: int = 24,
        **variables: str,
    ) -> None:
        self.screen = pyte.Screen(width, height)
        self.said = ""
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._ours, self._theirs = os.openpty()
        self.resize(width, height)
        self.before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            command,
            env={**environment, "TERM": "screen-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC", **variables},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._theirs)
        self._reader.join()
        os.close(self._ours)

    @property
    def lines(self) -> list[str]:
        """What is on the screen now, without the spaces at the ends of the lines."""
        with self._lock:
            return [line.rstrip() for line in self.screen.display]

    @property
    def as_before(self) -> bool:
        """Whether the terminal is set as it was before the program began."""
        return termios.tcgetattr(self._theirs) == self.before

    def shows(self, text: str) -> bool:
        """Return whether the text is on the screen, now or soon."""
        return eventually(lambda: any(text in line for line in self.lines))

    def hides(self, text: str) -> bool:
        """Return whether the text is not on the screen, now or soon."""
        return eventually(lambda: not any(text in line for line in self.lines))

    def press(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._ours, keys.encode())

    def resize(self, width: int, height: int) -> None:
        """Change the size, as a person does who drags the window."""
        with self._lock:
            self.screen.resize(height, width)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def drained(self) -> bool:
        """Wait until all that an ended program has written was read; return whether it was."""
        os.write(self._theirs, b"\x04")  # the end of the line, as it is written after everything else
        return eventually(lambda: self.said.endswith("\x04"))

    def ends(self) -> int:
        """Wait until the program has ended; return its exit status."""
        return self.process.wait(timeout=20)

    def _read(self) -> None:
        with suppress(OSError):  # the last one who had it open for writing is gone
            while data := os.read(self._ours, 65536):
                with self._lock:
                    self.said += data.decode(errors="replace")
                    self._stream.feed(data)
