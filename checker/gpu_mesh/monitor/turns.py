"""Decides which nodes of a large mesh are asked for more in a check, so that not all are at once. Pure."""

from zlib import crc32

AT_ONCE = 500
"""Nodes that are asked for more in one check; with that many a check takes about a second longer."""


class Turns:
    """The turns in one check: the mesh has parts of about AT_ONCE nodes, and it is the turn of one part."""

    def __init__(self, nodes: int, began: float, interval: float) -> None:
        """Take the number of nodes, when the check began (Unix seconds), and the seconds between checks."""
        self._parts = max(1, -(-nodes // AT_ONCE))
        self._part = int(began // interval) % self._parts

    def has(self, key: str, waited: float, every: float) -> bool:
        """Return whether it is a node's turn to be asked for what is asked from time to time.

        It always is, unless it is very late, as all are at the very first check or after the monitor was off.

        Args:
            key: the node's.
            waited: seconds since it was last asked.
            every: seconds between two.
        """
        return waited < 2 * every or crc32(key.encode(errors="replace")) % self._parts == self._part
