"""Changes the state for looks at GPUs: remembers what they showed. Pure; gpu_watch.py makes the looks."""

from collections import Counter
from collections.abc import Mapping

from msgspec.structs import replace

from gpu_mesh.diagnosis import gpu_history
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.hosts.playbook_result import Looked
from gpu_mesh.planning import gpu_looks, gpu_repair


def remember(state: State, mesh: Mesh, results: Mapping[str, Looked], now: float) -> None:
    """Note in the state what the looks have shown, for each node of the hosts, or that they showed nothing.

    Args:
        state: changed in place.
        mesh: the nodes.
        results: of the looks, by the key of one node of each host.
        now: Unix seconds.
    """
    hosts = {gpu_looks.host_of(node): results[node.key] for node in mesh.nodes if node.key in results}
    nodes = [(node, host) for node in mesh.nodes if (host := gpu_looks.host_of(node)) in hosts]
    of_host = Counter(host for _, host in nodes)
    for node, host in nodes:
        known = state.nodes.get(node.key)
        if known is not None:
            looked = _with_look(known, hosts[host], now, shared=of_host[host] > 1)
            state.nodes[node.key] = gpu_repair.after_look(node, looked)


def _with_look(known: NodeState, looked: Looked, now: float, *, shared: bool) -> NodeState:
    """Return the node's state after a look.

    What is loaded says nothing of the cards where the node does not answer, or another Ollama shares them.
    """
    known = replace(known, gpu_looked_at=now)
    if looked.facts is None:
        return known
    loaded = None if known.verdict is Verdict.FAILED or shared else known.loaded
    return replace(known, gpu=gpu_history.remember(known.gpu, looked.facts, loaded))
