"""Knows which nodes a living process of this machine repairs, whatever the clock says; for worker.py.

A claim ends by the clock, which may be set forward while its recovery goes on, and a state may be lost. So a
process also holds a lock for each node that it is at, which the kernel lets go when the process ends, however
it does. The locks are taken and looked at under the state's lock alone: no look is taken for work.
"""

from pathlib import Path
from typing import IO

from gpu_mesh.system import locks

FOLDER = "recover.locks"
"""Below the state folder: a file for each node that was ever repaired. What nobody holds means nothing."""


class AtWork:
    """The locks of one process, and a look at those of the others."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._held: dict[str, IO[str]] = {}

    def begin(self, node: str) -> None:
        """Hold the node's lock, which nobody does (``nodes``).

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(exist_ok=True, mode=0o750)
        self._held[node] = lock = (self._folder / node).open("a")
        locks.take(lock)

    def end(self, node: str) -> None:
        """Let go of the node's lock."""
        self._held.pop(node).close()

    @property
    def mine(self) -> frozenset[str]:
        """The nodes that this process is at."""
        return frozenset(self._held)

    def nodes(self) -> frozenset[str]:
        """Return the nodes that any living process is at, this one's too.

        Raises:
            OSError: a lock cannot be looked at.
        """
        files = self._folder.iterdir() if self._folder.is_dir() else ()
        return self.mine | {file.name for file in files if locks.is_held(file)}
