"""The values that the steps of a recovery pass to each other. Values only."""

from msgspec import Struct

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.recovery import Claim
from gpu_mesh.domain.state import NodeState

BETWEEN_PROBES = 0.5
"""Seconds between two probes of a repaired node that should come back."""


class Job(Struct, frozen=True):
    """A claimed recovery."""

    node: Node
    claim: Claim
    before: NodeState
    cause: Cause | None  # as the probe diagnosed it


class Verification(Struct, frozen=True):
    """What the probes after a recovery showed."""

    seen: Observation | None = None  # None: no probe has shown anything about the node
    serves: bool = False
    detail: str = ""  # what is still wrong, or why nothing is known; "": nothing

    @property
    def repaired(self) -> bool:
        """Whether the node serves as it should."""
        return self.serves and not self.detail
