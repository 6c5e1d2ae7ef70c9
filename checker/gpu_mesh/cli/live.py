"""Draws the live view on a terminal by curses, and reads keys and signals: the shell of reporting/live.py.

Whatever ends it, the terminal is left as it was. It needs a terminal for input and output.
"""

import curses
import locale
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, tzinfo

from gpu_mesh.cli import stopping
from gpu_mesh.cli.common import UsageError
from gpu_mesh.reporting.live import Screen, frame, settled
from gpu_mesh.reporting.live_view import Key, Samples, View, press
from gpu_mesh.reporting.report import Report
from gpu_mesh.reporting.styled import Line
from gpu_mesh.storage.state_file import StateError
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.paint import Style
from gpu_mesh.text.table import cells

_CHANGED, _ANYWAY = 2.0, 5.0
"""Seconds, at most, until a changed state is drawn, and until ages and the like are drawn anew."""

_ESCAPE_DELAY = 50
"""Milliseconds within which the rest of an arrow key's sequence follows its first byte, over ssh, too."""

_KEYS = {
    curses.KEY_UP: Key.UP,
    curses.KEY_DOWN: Key.DOWN,
    curses.KEY_PPAGE: Key.PAGE_UP,
    curses.KEY_NPAGE: Key.PAGE_DOWN,
    curses.KEY_HOME: Key.HOME,
    curses.KEY_END: Key.END,
    curses.KEY_ENTER: Key.ENTER,
    curses.KEY_BACKSPACE: Key.BACKSPACE,
}
_LETTERS = {"\n": Key.ENTER, "\r": Key.ENTER, "\x1b": Key.ESCAPE, "\x7f": Key.BACKSPACE, "\b": Key.BACKSPACE}

_ASCII = str.maketrans("●▲✖■○━─·×…–▏“”↑↓▁▂▃▄▅▆▇█", "o!X#?=--x~-_''^v12345678")
"""What stands for the signs where the terminal's locale has ASCII alone."""


Source = Callable[[], tuple[Report, Samples]]
"""Reads the report as of now, and the checks of the last hour."""


def watch(source: Source, paths: Paths) -> int:
    """Show the mesh until the person leaves, or a signal comes; return the exit status.

    Raises:
        UsageError: this host does not know the terminal; or the mesh cannot be shown at all.
    """
    _set_locale()
    try:
        curses.setupterm()
    except curses.error as error:
        name = os.environ.get("TERM", "")
        raise UsageError(
            f"this host does not know the terminal {name!r}; try: TERM=xterm-256color gpu-mesh top"
        ) from error
    latest = _Latest(source, paths)
    stopping_now = threading.Event()
    with _waking() as woken:
        came = stopping.on_signals(stopping_now)
        with _terminal() as window:
            _show(window, latest, stopping_now, woken)
    return stopping.end(came, 0)


def _set_locale() -> None:
    """Take the person's locale, from which curses knows how letters are encoded."""
    for name in ("", "C.UTF-8"):  # ssh may bring one that this host does not have
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        return


def _show(window: curses.window, latest: "_Latest", stop: threading.Event, woken: socket.socket) -> None:
    view, pen = View(), _Pen(window)
    idle = 0
    while not (stop.is_set() or view.left):
        height, width = _size()
        if (height, width) != window.getmaxyx():
            curses.resizeterm(height, width)
            window.clear()  # terminals disagree about what a change of size leaves
        on = latest.screen(width, height)
        view = settled(on, view)
        pen.draw(frame(on, view))
        ready, _, _ = select.select([sys.stdin, woken], [], [], _CHANGED)
        if woken in ready:
            woken.recv(1000)
        keys = list(_pressed(window))
        for key in keys:
            view = settled(on, press(view, key, on.report, height))
        # A terminal that is gone is always ready, and has no key.
        idle = idle + 1 if sys.stdin in ready and not keys else 0
        if idle > len(_KEYS):
            return


def _size() -> tuple[int, int]:
    """Return the lines and columns of the terminal; of one that has no size, the usual ones."""
    size = os.get_terminal_size(sys.stdout.fileno())
    return size.lines or 24, size.columns or 80


class _Latest:
    """The newest report that could be read, and why there is no newer one."""

    def __init__(self, source: Source, paths: Paths) -> None:
        self._source, self._file = source, paths.state_file
        self._problem = ""
        self._mark = self._seen()
        self._report, self._samples = source()
        self._read_at = time.monotonic()

    def screen(self, width: int, height: int) -> Screen:
        """Return what there is to see: read anew where the state has changed, or some seconds are over."""
        mark = self._seen()
        passed = time.monotonic() - self._read_at
        if passed >= _ANYWAY or (passed >= _CHANGED and mark != self._mark):
            self._mark, self._read_at = mark, time.monotonic()
            try:
                self._report, self._samples = self._source()
                self._problem = ""
            except (UsageError, StateError) as error:
                self._problem = f"what follows is older: {error}"
            except OSError as error:
                self._problem = f"what follows is older: {error.filename or 'a file'}: {error.strerror}"
        return Screen(self._report, self._samples, width, height, _zone(), self._problem)

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def _zone() -> tzinfo:
    """Return this machine's time zone, as it is today."""
    return datetime.now(UTC).astimezone().tzinfo or UTC


class _Pen:
    """Draws lines on the terminal, in colours where it has some and nobody forbids them."""

    def __init__(self, window: curses.window) -> None:
        self._window = window
        self._unicode = locale.nl_langinfo(locale.CODESET).upper() in ("UTF-8", "UTF8")
        self._looks = {
            Style.PLAIN: curses.A_NORMAL,
            Style.BOLD: curses.A_BOLD,
            Style.DIM: curses.A_DIM,
            Style.SELECTED: curses.A_REVERSE,
            **dict.fromkeys((Style.GOOD, Style.WARN, Style.BAD), curses.A_BOLD),
        }
        if curses.has_colors() and not os.environ.get("NO_COLOR"):
            curses.start_color()
            curses.use_default_colors()
            colours = {
                Style.GOOD: curses.COLOR_GREEN,
                Style.WARN: curses.COLOR_YELLOW,
                Style.BAD: curses.COLOR_RED,
            }
            for number, (style, colour) in enumerate(colours.items(), start=1):
                curses.init_pair(number, colour, -1)
                self._looks[style] = curses.color_pair(number)
            self._looks[Style.BAD] |= curses.A_BOLD

    def draw(self, lines: list[Line]) -> None:
        """Draw the lines in place of what was there."""
        self._window.erase()
        for number, line in enumerate(lines):
            column = 0
            for part in line:
                self._put(number, column, part.text, self._looks[part.style])
                column += cells(part.text)
        self._window.refresh()

    def _put(self, line: int, column: int, text: str, look: int) -> None:
        shown = text if self._unicode else _in_ascii(text)
        try:
            self._window.addstr(line, column, shown, look)
        except curses.error:
            pass  # curses cannot move behind the last cell, or the window has just become smaller


def _in_ascii(text: str) -> str:
    return "".join(letter if letter.isascii() else "?" * cells(letter) for letter in text.translate(_ASCII))


def _pressed(window: curses.window) -> Iterator[Key | str]:
    """Yield the keys that have been pressed."""
    while True:
        try:
            key = window.get_wch()
        except curses.error:
            return
        if isinstance(key, int):
            if key in _KEYS:
                yield _KEYS[key]
        else:
            yield _LETTERS.get(key, key)


@contextmanager
def _terminal() -> Iterator[curses.window]:
    """Give the whole terminal, and leave it as it was."""
    window = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        curses.set_escdelay(_ESCAPE_DELAY)
        window.keypad(True)  # noqa: FBT003 - the function takes no name for it
        window.nodelay(True)  # noqa: FBT003
        try:
            curses.curs_set(0)
        except curses.error:
            pass  # this terminal cannot hide it
        yield window
    finally:
        with suppress(curses.error):  # the terminal is gone
            curses.endwin()


@contextmanager
def _waking() -> Iterator[socket.socket]:
    """Give a socket that can be read once a signal has come, also one that says that the size has changed."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)  # noqa: FBT003
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    # Its own handler, for otherwise curses would take the signal and tell nobody.
    resized = signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
    try:
        yield ours
    finally:
        signal.signal(signal.SIGWINCH, resized)
        signal.set_wakeup_fd(before)
        ours.close()
        theirs.close()
