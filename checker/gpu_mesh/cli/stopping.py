"""Lets a signal end a command that works on nodes at a good moment, and ends as the signal would have."""

import os
import signal
import threading

from gpu_mesh.cli.common import STOPPED


def on_signals(stopping: threading.Event) -> list[int]:
    """From now on, have the signals that end a command set the event; return the list that gets them."""
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        came.append(number)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # by nohup
            signal.signal(number, stop)
    return came


def end(came: list[int], code: int) -> int:
    """Return the exit status of the command, which is ``code`` unless signals came."""
    if signal.SIGTERM in came:  # systemd counts only a death by that signal as a clean stop
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    return STOPPED if came else code
