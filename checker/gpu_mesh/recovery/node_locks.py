"""Locks each node that this process repairs, and finds those that any living process repairs; for worker.py.

A claim expires by the clock, which may be set forward while its recovery goes on; and a state may be lost. So
a process also holds a file lock for each node that it repairs. The kernel releases the lock when the process
ends, for whatever reason. The locks are taken and looked at only under the state's lock: so a look, which
takes a lock for a moment, is never mistaken for a repair.
"""

from pathlib import Path
from typing import IO

from gpu_mesh.system import files, locks

FOLDER = "recover.locks"
"""In the state folder: a file for each node that was ever repaired. An unlocked file means nothing."""


class AtWork:
    """The node locks of this process, and a look at those of the others."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._held: dict[str, IO[str]] = {}

    def begin(self, node: str) -> None:
        """Take the node's lock. The caller knows by ``nodes`` that nobody holds it.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self._folder.is_dir():
            files.remove(self._folder)  # a file or a link, which nobody needs
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._held[node] = lock = locks.open_file(self._folder / node)
        locks.take(lock)

    def end(self, node: str) -> None:
        """Release the node's lock."""
        self._held.pop(node).close()

    @property
    def mine(self) -> frozenset[str]:
        """The nodes that this process repairs."""
        return frozenset(self._held)

    def nodes(self) -> frozenset[str]:
        """Return the nodes that any living process repairs, this one included.

        Raises:
            OSError: a lock cannot be looked at.
        """
        files = self._folder.iterdir() if self._folder.is_dir() else ()
        return self.mine | {file.name for file in files if locks.is_held(file)}
