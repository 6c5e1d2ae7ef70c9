"""Reads the inventory in a separate process, within a time limit; for inventory/cache.py.

Ansible never frees the memory of what it has read, and an inventory script may hang: a check must not suffer
from either. This module does not load Ansible.
"""

import os
import re
import signal
import subprocess
import sys
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct

from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.inventory.mistakes import Mistake

LIMIT = 60.0  # seconds for Ansible; 10,000 nodes took 4
_EXCEPTION = re.compile(r"[A-Za-z_.]+(Error|Exception|Exit): ")
_SHOWN = 300  # characters of a broken reader's last message that a mistake repeats


class Reading(Struct, frozen=True):
    """The result of reading the inventory: a mesh or mistakes."""

    mesh: Mesh | None = None
    mistakes: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()  # what is no mistake, but perhaps not intended
    files: tuple[str, ...] = ()  # what Ansible read besides the sources: ansible.cfg, vault passwords


def read(sources: tuple[str, ...], monitor: str | None, limit: float = LIMIT) -> Reading:
    """Read the sources with inventory/ansible_reader.py. A reader that hangs or breaks is a mistake, too.

    Args:
        sources: inventory sources in Ansible's sense.
        monitor: the ``--monitor`` option.
        limit: seconds.
    """
    # -P: a module in the working directory must not replace an installed one.
    command = [
        sys.executable,
        "-P",
        "-m",
        "gpu_mesh.inventory.ansible_reader",
        str(os.getpid()),
        monitor or "",
        *sources,
    ]
    try:
        return _read(command, sources, limit)
    except OSError as error:
        problem = f"Ansible cannot be started to read the inventory: {error.strerror}: {error.filename}"
        return Reading(mistakes=(Mistake(problem, place=", ".join(sources)),))


def _read(command: list[str], sources: tuple[str, ...], limit: float) -> Reading:
    with (
        TemporaryDirectory(prefix="gpu-mesh-") as folder,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ansible accepts no other encoding, and needs a writable folder; a service has no home.
            env={**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_LOCAL_TEMP": folder},
            start_new_session=True,
        ) as reader,
    ):
        try:
            answer, errors = reader.communicate(timeout=limit)
        except BaseException as error:
            os.killpg(reader.pid, signal.SIGKILL)  # also an inventory script that it waits for
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            problem = f"reading the inventory took longer than {limit:g} s: an inventory script may hang"
            return Reading(mistakes=(Mistake(problem, place=", ".join(sources)),))
    try:
        return msgspec.json.decode(answer, type=Reading)
    except msgspec.DecodeError:
        problem = f"Ansible could not read the inventory (exit status {reader.returncode}): {_gist(errors)}"
        return Reading(mistakes=(Mistake(problem, place=", ".join(sources)),))


def _gist(errors: bytes) -> str:
    """Return the message of a traceback's exception, without later lines: these may quote a file."""
    lines = errors.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    named = (line for line in reversed(lines) if _EXCEPTION.match(line))
    text = _EXCEPTION.sub("", next(named, lines[-1]))
    return "".join(sign for sign in text if sign.isprintable())[:_SHOWN]
