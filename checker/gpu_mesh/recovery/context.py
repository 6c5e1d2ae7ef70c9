"""What each step of a recovery needs: the mesh, its state, the log, a probe, a clock. For worker.py."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from gpu_mesh.domain.event import Severity, Value, event
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.probe import ollama


class Observe(Protocol):
    """Probes a node: ``probe.ollama.observe``."""

    def __call__(
        self, node: Node, at: float, *, ask_version: bool, trust_env: bool, choose: "ollama.Choose"
    ) -> Observation:
        """Return what one probe of the node showed."""


def _observe(
    node: Node, at: float, *, ask_version: bool, trust_env: bool, choose: "ollama.Choose"
) -> Observation:
    from gpu_mesh.probe import ollama  # the HTTP library, which costs more than all else where nothing is due

    return ollama.observe(node, at, ask_version=ask_version, trust_env=trust_env, choose=choose)


class Context(Struct, frozen=True):
    """What each step of a recovery needs."""

    paths: Paths
    mesh: Mesh
    statefile: StateFile
    log: Log
    claims: StateFile | None = None  # where a node is claimed; None: in the same file
    observe: Observe = _observe
    clock: Callable[[], float] = time.time
    stopping: threading.Event = field(default_factory=threading.Event)  # set: the monitor is to stop

    @property
    def claiming(self) -> StateFile:
        """The state in which a node is claimed. Of several monitors only one may do so."""
        return self.claims or self.statefile

    def note(self, name: str, severity: Severity = Severity.INFO, /, **fields: Value) -> None:
        """Log one event."""
        self.log.write([event(name, severity, **fields)], self.clock())
