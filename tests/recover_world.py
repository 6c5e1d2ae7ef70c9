"""A monitor in a temporary folder with failing nodes on this machine, for the tests of recoveries."""

import sys
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from factories import refusing
from gpu_mesh.domain.alert import Alert, Notified
from gpu_mesh.domain.event import Severity
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.domain.state import NodeAlerting, NodeState
from gpu_mesh.recovery.context import Context
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system import paths as folders
from gpu_mesh.system.log import Log
from sites import end_all_in

INVENTORY = "mesh_nodes: {hosts: {gpu1: {ansible_connection: local}, gpu2: {ansible_connection: local}}}\n"


class World:
    """A monitor in a temporary folder, and what its tests ask of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "inventory.yml").write_text(INVENTORY)
        self.paths = folders.find({}, (str(folder / "inventory.yml"),), str(folder / "state"), as_root=False)
        self.log = Log(self.paths.log_file, threshold=Severity.ERROR)
        self.statefile = StateFile(self.paths.state, self.log)
        self.settings = Settings(recovery_settle=3.0, recovery_timeout=30.0)
        self.commands = folder / "commands"
        self._pids = folder / "pids"

    def end(self) -> None:
        """End what recovery commands have started."""
        end_all_in(self._pids)

    def site(self, *nodes: Node, ahead: float = 0.0) -> Context:
        """Return the mesh with a clock that is this many seconds ahead."""
        mesh = Mesh(nodes, self.settings)
        return Context(self.paths, mesh, self.statefile, self.log, clock=lambda: time.time() + ahead)

    def node(self, port: int, command: str, key: str = "gpu1", **fields: Any) -> Node:
        """Return a node that is recovered by a command, each run of which is written down."""
        return Node(
            key,
            key.upper(),
            f"http://127.0.0.1:{port}",
            timeout=2.0,
            recovery=RecoveryKind.COMMAND,
            recovery_command=f"echo {key} >>{self.commands}; {command}",
            on_monitor=True,
            **fields,
        )

    def starting(self, port: int) -> str:
        """Return the command that starts an Ollama there, which ``end`` ends."""
        return f"echo $$ >>{self._pids}; exec {sys.executable} -m gpu_mesh.standin --port {port}"

    def failing(self, key: str = "gpu1", **fields: Any) -> None:
        """Let the state say that the node is unhealthy."""
        now = time.time()
        notified = Notified(now - 30, Status.UNHEALTHY, Verdict.FAILED, now - 90)
        known = refusing(now - 90, alerting=NodeAlerting(notified=notified))
        with self.statefile.update(now) as state:
            state.nodes[key] = replace(known, **fields)

    def known(self, key: str = "gpu1") -> NodeState:
        return self.statefile.load().nodes[key]

    def alerts(self) -> list[Alert]:
        return list(self.statefile.load().alerts)

    def runs(self) -> list[str]:
        return self.commands.read_text().split() if self.commands.exists() else []

    def logged(self) -> list[str]:
        lines = self.paths.log_file.read_text().splitlines()
        return [line.split("event=")[1].split()[0] for line in lines]
