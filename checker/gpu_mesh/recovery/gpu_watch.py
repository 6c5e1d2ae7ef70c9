"""Looks at the GPUs of the nodes' hosts for ``gpu-mesh look``, and remembers what they show.

It has the key to the hosts, and so runs beside the recoveries; the check, which reads what nodes send, only
judges what is remembered.
"""

from collections.abc import Sequence

from gpu_mesh.domain.event import Severity
from gpu_mesh.domain.mesh import Node
from gpu_mesh.hosts import gpu_look, plain_ssh
from gpu_mesh.hosts.playbook_result import Looked
from gpu_mesh.planning import gpu_looks
from gpu_mesh.recovery import gpu_here, gpu_results
from gpu_mesh.recovery.context import Context
from gpu_mesh.system import locks

BATCH = 100
"""Hosts of one run of Ansible: its start costs more than a login."""


def look(context: Context, nodes: Sequence[Node]) -> dict[str, Looked]:
    """Look at the hosts of these nodes, remember what they show, and return it, by the node's key.

    Raises:
        StateError: the state folder cannot be used.
    """
    from gpu_mesh.hosts import playbook

    looked: dict[str, Looked] = {}
    for begin in range(0, len(nodes), BATCH):
        if context.stopping.is_set():
            break
        batch = nodes[begin : begin + BATCH]
        apart = [node for node in batch if gpu_here.is_apart(node, context.paths)]
        found = {node.key: _look_here(context) for node in apart}
        found |= _look_by_ssh(context, [node for node in batch if node.login and not node.on_monitor])
        for local in (True, False):  # this host needs other connection variables than the others
            found |= playbook.look_at_gpus(
                [node for node in batch if node.key not in found and node.on_monitor is local],
                context.paths.inventory,
                context.mesh.settings.recovery_playbooks,
                stop=context.stopping.is_set,
            )
        if context.stopping.is_set():
            break
        missing = Looked(reason="Ansible did not come to it")
        results = {node.key: found.get(node.key, missing) for node in batch}
        now = context.clock()
        with context.statefile.update(now) as state:
            gpu_results.remember(state, context.mesh, results, now)
        looked.update(results)
    for key, each in looked.items():
        if each.facts is None:
            context.note("gpu_not_seen", Severity.INFO, node=key, reason=each.reason)
    return looked


def _look_by_ssh(context: Context, nodes: Sequence[Node]) -> dict[str, Looked]:
    """Look at these nodes' hosts; return what was seen, without those that ssh could not log in to."""
    if not nodes:
        return {}
    scripts = gpu_here.scripts_of(context.mesh)
    functions = b"".join((scripts / name).read_bytes() for name in ("gpu_mesh.sh", "gpu.sh"))
    calls = {node.key: f"\n{gpu_here.call(node, gpu_here.REGULAR)}\n".encode() for node in nodes}
    printed = plain_ssh.run(
        nodes,
        {key: functions + call for key, call in calls.items()},
        gpu_here.REGULAR + 1,
        context.stopping.is_set,
    )
    looked = {key: gpu_look.read(text, context.clock()) for key, text in printed.items()}
    return {key: Looked(facts, "" if facts else "the look was cut off") for key, facts in looked.items()}


def _look_here(context: Context) -> Looked:
    """Look at the monitor's own host through the unit that sees its devices."""
    facts = gpu_look.read(gpu_here.ask(context.paths, gpu_here.REGULAR), context.clock())
    return Looked(facts, "" if facts else "gpu-mesh-look-here.service did not answer")


def look_at_due(context: Context) -> int:
    """Look at the hosts that are due; return how many. While another process does so, none.

    Raises:
        StateError: the state folder cannot be used.
    """
    with locks.only_one(context.paths.state / "look.lock") as mine:
        if not mine:
            return 0
        now = context.clock()
        nodes = gpu_looks.due(context.mesh, context.statefile.load(now), now)
        return len(look(context, nodes)) if nodes else 0
