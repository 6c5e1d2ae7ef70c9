"""Decides whether the monitor's own network is gone, before every node is blamed for that. Pure.

probe/canary.py asks the places outside for monitor/check.py; simulation/simulator.py knows without asking.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation

Ask = Callable[[Collection[str]], Collection[str]]
"""Says which of these canaries answer."""


def ask_canaries(
    canaries: Collection[str],
    known: Mapping[str, str],
    nodes: Sequence[Node],
    seen: Mapping[str, Observation],
    boot: str,
    ask: Ask,
) -> tuple[dict[str, str], bool]:
    """Return the canaries that answered just now, each with this boot, and whether the monitor is offline.

    They are asked until each has answered since this machine started, and whenever no remote node answers.

    Args:
        canaries: those of the settings.
        known: the boot in which each last answered.
        nodes: the nodes that were probed.
        seen: what that showed, by key.
        boot: what tells this start of the machine from others.
        ask: asks canaries.
    """
    proven = {each for each in canaries if known.get(each) == boot}
    failing = all_remote_fail(nodes, seen)
    reachable = ask(canaries if failing else set(canaries) - proven)
    return dict.fromkeys(reachable, boot), failing and bool(proven) and not reachable


def all_remote_fail(nodes: Sequence[Node], seen: Mapping[str, Observation]) -> bool:
    """Tell whether every node that is not on the monitor fails; False when there is none."""
    remote = [seen[node.key] for node in nodes if not node.on_monitor]
    return bool(remote) and all(observation.tags.fault is not None for observation in remote)
