"""Names the keys of etcd that the monitors of one mesh share. Pure.

All begin with ``/gpu-mesh/MESH/0/``: the number leaves room for a mesh that several leaders share one day.
"""

from msgspec import Struct


class Keys(Struct, frozen=True):
    """The keys of one mesh."""

    mesh: str

    def _named(self, name: str) -> str:
        return f"/gpu-mesh/{self.mesh}/0/{name}"

    @property
    def lead(self) -> str:
        """Who leads: a ``domain.cluster.Lead``, under the leader's lease."""
        return self._named("lead")

    @property
    def last(self) -> str:
        """Who led last: the same, under no lease."""
        return self._named("last")

    @property
    def members(self) -> str:
        """What the keys of the living monitors begin with."""
        return self._named("member/")

    def member(self, name: str) -> str:
        """One living monitor: a ``domain.cluster.Member``, under its lease."""
        return self.members + name

    @property
    def state(self) -> str:
        """The state, packed."""
        return self._named("state")

    @property
    def write(self) -> str:
        """Which write the state is of: ``Shared.write``."""
        return self._named("write")

    @property
    def schema(self) -> str:
        """The schema of the state, as a number: who is older cannot read it."""
        return self._named("schema")

    @property
    def lock(self) -> str:
        """Who changes the state at this moment: ``MONITOR WRITE``."""
        return self._named("lock")
