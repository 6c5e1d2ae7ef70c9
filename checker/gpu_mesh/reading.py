"""Read the inventory in a process of its own, and within a time limit.

Ansible keeps what it has read for as long as its process lives, and an inventory script may hang: neither may
happen to a check. Nothing of Ansible is loaded here.
"""

import os
import signal
import subprocess
import sys

import msgspec
from msgspec import Struct

from gpu_mesh.mesh import Mesh
from gpu_mesh.mistakes import Mistake

LIMIT = 60.0  # seconds for Ansible; 10,000 nodes took 4
_SAID = 300  # characters of what a broken reader said last


class Reading(Struct, frozen=True):
    """What reading the inventory gave: a mesh or mistakes."""

    mesh: Mesh | None = None
    mistakes: tuple[Mistake, ...] = ()
    files: tuple[str, ...] = ()  # what Ansible read besides the sources: ansible.cfg, vault passwords


def read(sources: tuple[str, ...], monitor: str | None, limit: float = LIMIT) -> Reading:
    """Read the sources as inventory.py does; a reader that hangs or breaks is a mistake too.

    Args:
        sources: inventory sources in Ansible's sense.
        monitor: the ``--monitor`` option.
        limit: seconds.
    """
    # -P: a module in the working directory must not be imported instead of an installed one.
    command = [sys.executable, "-P", "-m", "gpu_mesh.inventory", monitor or "", *sources]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8"},  # Ansible refuses to run in any other encoding
        start_new_session=True,
    ) as reader:
        try:
            answer, said = reader.communicate(timeout=limit)
        except BaseException as error:
            os.killpg(reader.pid, signal.SIGKILL)  # with the inventory script that it waits for
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            problem = f"reading the inventory took longer than {limit:g} s: an inventory script may hang"
            return Reading(mistakes=(Mistake(problem, place=", ".join(sources)),))
    try:
        return msgspec.json.decode(answer, type=Reading)
    except msgspec.DecodeError:
        last = said.decode(errors="replace").strip().rpartition("\n")[2][:_SAID]
        problem = f"Ansible could not read the inventory (exit status {reader.returncode}): {last}"
        return Reading(mistakes=(Mistake(problem, place=", ".join(sources)),))
