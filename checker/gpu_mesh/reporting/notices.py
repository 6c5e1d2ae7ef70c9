"""Says what is wrong with the monitor itself, the worst first; each view writes it in its own way. Pure."""

from msgspec import Struct

from gpu_mesh.alerting.emergencies import describe_seen
from gpu_mesh.domain.cluster import Role
from gpu_mesh.planning import advice
from gpu_mesh.reporting.report import MeshReport
from gpu_mesh.text.humanize import ago, lasted, plural


class Notice(Struct, frozen=True):
    """One thing that is wrong."""

    words: str  # without a full stop
    details: tuple[str, ...] = ()  # what a person should know besides: each a clause
    command: str = ""  # what shows more, as it is typed; "": nothing does

    @property
    def line(self) -> str:
        """All of it but the command, in one line."""
        return "; ".join((self.words, *self.details))


_AWAY = {
    Role.LEADER_ALONE: "goes on alone, as it led last",
    Role.ALONE: "watches alone, and repairs nothing",
}


def notices(mesh: MeshReport, at: float) -> tuple[Notice, ...]:
    """Return what is wrong with the monitor itself.

    Args:
        mesh: what is known of the mesh as a whole.
        at: Unix seconds, of the report.
    """
    found = []
    if emergency := mesh.emergency:
        found.append(
            Notice(
                f"Nothing can be saved{lasted(', for {}', emergency.since, at)}: {emergency.reason}",
                (
                    f"next: {emergency.next_step}",
                    f"the newest check, {ago(emergency.at, at)}, saw: {describe_seen(emergency)}",
                    "no node is repaired, and of alerts only this is sent",
                    "what follows is what was last saved",
                ),
            )
        )
    if mesh.monitors and mesh.monitors.role in _AWAY:
        words = f"etcd is away: {mesh.monitors.monitor} {_AWAY[mesh.monitors.role]}"
        found.append(Notice(words, command="gpu-mesh cluster"))
    if mesh.monitors and not mesh.monitors.leader:
        found.append(Notice("No monitor leads: nobody watches the mesh", command="gpu-mesh cluster"))
    if mesh.offline_since:
        long = lasted(" for {}", mesh.offline_since, at)
        found.append(Notice(f"The monitor itself is offline{long}: what follows is what was known before"))
    if mesh.unprobed:
        nodes = plural(mesh.unprobed, "node")
        found.append(Notice(f"The monitor could not probe {nodes}; its log says why"))
    if mesh.too_slow:
        words = f"Checks take longer than their interval: the last took {mesh.check_seconds:.3g} s,"
        found.append(Notice(f"{words} one is due every {mesh.interval:g} s", (advice.FOR_SLOW_CHECKS,)))
    if mesh.alert_urls == 0:
        words = "Nobody is told of anything: there is no URL that alerts go to"
        found.append(Notice(words, command="gpu-mesh alerts test"))
    elif mesh.alerts_without_url:
        unsent = plural(mesh.alerts_without_url, "alert")
        words = f"{unsent} reached nobody, because no URL wants them"
        found.append(Notice(words, command="gpu-mesh alerts test"))
    if mesh.history_error:
        found.append(Notice(f"The history is not written: {mesh.history_error}"))
    if mesh.inventory_error:
        mistakes = tuple(mesh.inventory_error.splitlines())
        found.append(Notice("The inventory's newest edit is not in force", mistakes))
    return tuple(found)
