"""Decides whether the monitor's own network is down, so that no node is blamed for that.

Pure, except for the function that asks the canaries, which the caller passes: monitor/check.py that of
probe/canary.py, simulation/simulator.py a made-up one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation

Ask = Callable[[Collection[str]], Collection[str]]
"""Returns which of these canaries answer."""


def ask_canaries(
    canaries: Collection[str],
    known: Mapping[str, str],
    nodes: Sequence[Node],
    seen: Mapping[str, Observation],
    boot: str,
    ask: Ask,
) -> tuple[dict[str, str], bool]:
    """Return the canaries that answered just now, each with this boot, and whether the monitor is offline.

    1. A canary is asked until it has answered since this machine started. All are asked when no remote node
       answers.
    2. The monitor is offline when no remote node and no canary answers, though a canary has since the start.

    Args:
        canaries: those of the settings.
        known: the boot in which each last answered.
        nodes: the nodes that were probed.
        seen: their observations, by key.
        boot: identifies this start of the machine.
        ask: asks canaries.
    """
    proven = {each for each in canaries if known.get(each) == boot}
    failing = all_remote_fail(nodes, seen)
    reachable = ask(canaries if failing else set(canaries) - proven)
    return dict.fromkeys(reachable, boot), failing and bool(proven) and not reachable


def all_remote_fail(nodes: Sequence[Node], seen: Mapping[str, Observation]) -> bool:
    """Return whether every node that is not on the monitor's own machine fails; False when there is none."""
    remote = [seen[node.key] for node in nodes if not node.on_monitor]
    return bool(remote) and all(observation.tags.fault is not None for observation in remote)
