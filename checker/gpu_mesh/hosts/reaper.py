"""Ends the processes that a playbook leaves behind, even when the process that runs it is killed.

Ansible's workers, modules and ssh masters share no process group. So they are recognised by a variable in
their environment. ``python hosts/reaper.py MARK FOLDER`` waits for the end of its standard input. The process
that runs the playbook keeps this open, so it ends when that process dies, for whatever reason.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "GPU_MESH_RUN"
"""Environment variable that marks the processes of a run; a recovery command drops it."""

_PASSES, _BETWEEN = 50, 0.1  # a process may start another one before it is ended


def end(mark: str) -> None:
    """End all processes of this user that have the mark."""
    wanted = f"{MARK}={mark}".encode()
    for _ in range(_PASSES):
        if not _end_once(wanted):
            return
        time.sleep(_BETWEEN)


def _end_once(wanted: bytes) -> bool:
    found = False
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found = True
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # it belongs to another user, or has ended
    return found


@contextmanager
def tied(mark: str, folder: Path) -> Iterator[None]:
    """End the processes with the mark, and remove the folder, when the block or this process ends.

    Raises:
        OSError: the process that does this cannot be started.
    """
    command = [sys.executable, "-I", "-S", __file__, mark, str(folder)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/"
    ):
        try:
            yield
        finally:
            end(mark)


def _wait(mark: str, folder: str) -> None:
    # A stop of the whole service signals this process too. It must live until the others have ended.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        while os.read(0, 1):
            pass
    end(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _wait(*sys.argv[1:])
