"""Pretends to be the monitors of a story, where several share the mesh: who lives, and who leads. Pure."""

from collections.abc import Sequence

from gpu_mesh.cluster import takeover
from gpu_mesh.domain.cluster import LEASE
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import Shared, State
from gpu_mesh.monitor.tick import MeshObservation

ASKS = 10.0
"""Seconds between two runs of ``gpu-mesh lead``."""

TAKES_OVER = LEASE + ASKS
"""Seconds after the leader's death until another monitor leads, at the latest."""


class FakeMonitors:
    """The monitors of a story. One that is alone has no name, and always leads."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._dead = tuple(names), set[str]()
        self.leader = names[0] if names else ""

    @property
    def living(self) -> tuple[str, ...]:
        """The monitors that live."""
        return tuple(name for name in self._names if name not in self._dead)

    @property
    def watches(self) -> bool:
        """Whether one leads."""
        return not self._names or self.leader in self.living

    def dies(self, name: str) -> bool:
        """Let a monitor die; return whether it led."""
        self._dead.add(name)
        return name == self.leader

    def lives(self, name: str) -> None:
        """Let a monitor live again."""
        self._dead.discard(name)

    def take_over(self) -> bool:
        """Let the first that lives lead, if nobody does; return whether it has begun to."""
        if self.watches or not self.living:
            return False
        self.leader = self.living[0]
        return True

    def counted(self, state: State, mesh: Mesh, shown: MeshObservation, now: float) -> MeshObservation:
        """Note in the state who leads and who is missing; return what of a check counts, as a monitor does.

        Args:
            state: changed in place.
            mesh: the nodes and the settings.
            shown: what the check saw.
            now: Unix seconds.
        """
        if not self._names:
            return shown
        state.shared = state.shared or Shared(leader=self.leader)
        left_out = takeover.begin(state, mesh, shown.observations, self.leader, self._names, self.living, now)
        return shown.without(left_out)
