"""Decides which nodes are repaired by one run of Ansible: those that need the same. Pure, for worker.py.

Starting Ansible costs several times what the repair of one node does. In a run for several nodes each has its
own claim, lease, deadline, verification and result, as in a run of its own: hosts/joint_run.py.
"""

from collections.abc import Collection

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.recovery import Decision
from gpu_mesh.recovery.values import Job

MOST = 100
"""Nodes of one run: a start is cheap then, and the list of their names is not too long for a command."""

SHARED = (Action.RESTART_OLLAMA, Action.REBUILD_TUNNEL)
"""What several nodes may share. An operator's own playbook was written for one host: it may use ``run_once``,
or end the play. A reboot concerns all nodes of its host, which it takes away in the middle of the run."""


def acts_here(node: Node, action: Action) -> bool:
    """Return whether an action is carried out on the monitor, over a local connection: for a whole run."""
    return action is Action.REBUILD_TUNNEL or node.on_monitor


def may_share(job: Job) -> bool:
    """Return whether a claimed node may be repaired in one run with others."""
    return job.claim.action in SHARED and not job.claim.playbook and job.node.has_plain_name


def fits(job: Job, action: Action, *, here: bool) -> bool:
    """Return whether a claimed node gets what a run does.

    Args:
        job: the recovery.
        action: that of the run.
        here: whether the run acts on the monitor.
    """
    return job.claim.action is action and not job.claim.playbook and acts_here(job.node, action) is here


def others(mesh: Mesh, decisions: tuple[Decision, ...], job: Job, taken: Collection[str]) -> tuple[str, ...]:
    """Return the nodes that may be repaired in one run with a claimed one; (): it gets a run of its own.

    Whether each is repaired is decided when its turn comes. No two are on one machine, where one waits for
    the other: the run would, too.

    Args:
        mesh: the nodes.
        decisions: what is planned for each node.
        job: the recovery that was claimed.
        taken: the nodes that are repaired already, or that another run expects.
    """
    action, here = job.claim.action, acts_here(job.node, job.claim.action)
    if not may_share(job):
        return ()
    nodes, found = {node.key: node for node in mesh.nodes}, []
    machines = {job.node.machine, *(nodes[key].machine for key in taken if key in nodes)}
    for each in decisions:
        node = nodes.get(each.node)
        if (
            node
            and node.key not in taken
            and (each.action, each.playbook) == (action, "")
            and acts_here(node, action) is here
            and node.has_plain_name
            and node.machine not in machines
        ):
            machines.add(node.machine)
            found.append(node.key)
    return tuple(found[: MOST - 1])
