"""Looks at the GPUs of the monitor's own host, for the units that see no devices.

What holds the key or talks to nodes sees no devices and no other processes of its host. So a unit that has
neither key nor network looks there (``gpu-mesh look --here``), when a file asks it to, and leaves what it saw
in a second file. Both lie in the runtime folder, which is in memory.
"""

import os
import shlex
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind
from gpu_mesh.system import atomic, files
from gpu_mesh.system.paths import Paths

BEFORE_A_RESTART, REGULAR = 2, 15
"""Seconds that a look may take: within a recovery, and otherwise."""

SEEN = "look-here.txt"
"""The file in the runtime folder that has what was seen."""

_LARGEST = 60_000  # bytes of what a look prints
_GRACE = 2.5  # seconds for the unit's start, and for the look to end after its time
_POLL = 0.05


def is_apart(node: Node, paths: Paths) -> bool:
    """Return whether this process must ask: it is a unit itself, on the node's host, and sees no devices."""
    return node.on_monitor and paths.for_recovery is not None and "INVOCATION_ID" in os.environ


def ask(paths: Paths, seconds: int) -> str:
    """Have the unit look, and return what it printed; "": it did not answer in time, or cannot be asked."""
    seen = paths.runtime / SEEN
    try:
        files.remove(seen)
        atomic.write(
            paths.look_here_wanted,
            str(seconds).encode(),
            temporary=paths.look_here_wanted.with_suffix(".asked"),
            mode=0o640,
        )
    except OSError:
        return ""
    until = time.monotonic() + seconds + _GRACE
    while time.monotonic() < until:
        with suppress(OSError, files.NoFileError):
            return files.read(seen, _LARGEST).decode(errors="replace")
        time.sleep(_POLL)
    return ""


def scripts_of(mesh: Mesh) -> Path:
    """Return the folder of gpu.sh.

    Raises:
        FileNotFoundError: there is none; the installation is broken.
    """
    from gpu_mesh.hosts import playbook

    found = playbook.find(Action.RESTART_OLLAMA, mesh.settings.recovery_playbooks).parent / "files"
    if not (found / "gpu.sh").is_file():  # a folder of the operator's own, from an older version
        found = playbook.find(Action.RESTART_OLLAMA).parent / "files"
    return found


def call(node: Node | None, seconds: int) -> str:
    """Return the shell's call of the look; the log of the node's unit says what Ollama has found."""
    scope = node.recovery.systemd_scope if node else ""
    unit = f" {scope} {shlex.quote(node.unit)}" if node and scope else ""
    return f"look_at_gpus {seconds}{unit}"


def look(paths: Paths, mesh: Mesh, scripts: Path) -> int:
    """Look, as the unit does; return 0.

    Args:
        paths: the monitor's folders.
        mesh: the nodes: the log of the first that systemd runs on this host says what Ollama has found.
        scripts: the folder of gpu.sh.

    Raises:
        OSError: what was seen cannot be written.
    """
    try:
        wanted = files.read(paths.look_here_wanted, 10)
    except (OSError, files.NoFileError):
        wanted = b""
    files.remove(paths.look_here_wanted)
    seconds = BEFORE_A_RESTART if wanted == str(BEFORE_A_RESTART).encode() else REGULAR
    node = next(
        (each for each in mesh.nodes if each.on_monitor and each.recovery is RecoveryKind.SYSTEMD), None
    )
    command = f'. "$0/gpu_mesh.sh" && . "$0/gpu.sh" && {call(node, seconds)}'
    # The look itself leaves what hangs; should it hang all the same, it is left.
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command, str(scripts)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
            timeout=seconds + _GRACE,
        )
    except subprocess.TimeoutExpired:
        return 0  # whoever asked is told that there was no answer
    seen = paths.runtime / SEEN
    atomic.write(seen, done.stdout[:_LARGEST], temporary=seen.with_suffix(".new"), mode=0o640)
    return 0
