"""Tells stories of a mesh into a real history.db, for tests of what is kept of the past."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from factories import EVERY, NOW, seen
from gpu_mesh.domain.history import Entry, Known
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import recording, tick
from gpu_mesh.storage import history


class Chronicle:
    """A mesh that is checked again and again, and its history."""

    def __init__(self, folder: Path, *nodes: Node, at: float = NOW, **settings: Any) -> None:
        self.folder = folder
        self.mesh = Mesh(nodes, Settings(**settings))
        self.state = State()
        self.now = at
        self.entries: list[Entry] = []
        self.most = 1000

    def goes(self, **shown: str) -> None:
        """Check once for each letter, as factories.Story does, and write what was seen."""
        for number in range(max(map(len, shown.values()))):
            observed = {
                key: seen(key, what[number], self.now) for key, what in shown.items() if what[number] != "-"
            }
            self.check(tick.MeshObservation(observed))

    def check(self, observed: tick.MeshObservation) -> None:
        """Apply what a check saw, write it, and let the time to the next check pass."""
        ticked = tick.apply(self.state, self.mesh, observed, self.now, self.now)

        def entry(known: Known) -> Entry:
            self.entries.append(recording.record(known, self.mesh, self.state, ticked.changes, self.now))
            return self.entries[-1]

        history.add(self.folder, self.most, entry, self.now)
        self.now += EVERY

    def change(self, key: str, **fields: Any) -> None:
        """Change what is known of a node, as a recovery or a person does between two checks."""
        self.state.nodes[key] = replace(self.state.node(key), **fields)
