"""Ends what the run of a playbook leaves behind, also when the process that runs it is killed.

Ansible's workers, modules and ssh masters share no process group, so they are known by a variable in their
environment. `python hosts/reaper.py MARK FOLDER` waits for the end of its standard input, which the process
that runs the playbook holds open: it comes with that process's death, whatever the reason.
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
"""Environment variable by which a run's own processes are known; a recovery command drops it."""

_PASSES, _BETWEEN = 50, 0.1  # a process may start another one while it is being ended


def end(mark: str) -> None:
    """End all processes with that mark, as far as they are this user's."""
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
            continue  # not ours to read, or gone by now
    return found


@contextmanager
def tied(mark: str, folder: Path) -> Iterator[None]:
    """Let the processes with that mark, and the folder, not outlive this process, nor the block.

    Raises:
        OSError: the process that sees to it cannot be started.
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
    # A stop of the whole service reaches this process, too; it still has to see the others end.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        while os.read(0, 1):
            pass
    end(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _wait(*sys.argv[1:])
