"""Decides whether a node that may sleep does, and what its state is meanwhile; for diagnosis/status.py. Pure.

A machine that sleeps looks like one that is gone: no packet comes back. So only the inventory can say that
this is no fault (``mesh_node_wake_mac``), and only silence shows it: a host that refuses a connection, takes
one and hangs, or answers with an error, is awake.
"""

from msgspec.structs import replace

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault, Observation
from gpu_mesh.domain.state import NodeState

_SILENT = (Fault.NO_ROUTE, Fault.CONNECT_TIMEOUT)
"""No packet has come back. While the kernel still knows the machine's card, in the first checks after it fell
asleep, connecting takes until its deadline; then nobody answers for the address, and there is no route."""


def is_silent(seen: Observation) -> bool:
    """Return whether nothing at all has come from the node's host."""
    return seen.tags.fault in _SILENT


def is_asleep(node: Node, before: NodeState, seen: Observation) -> bool:
    """Return whether a check shows that the node sleeps.

    1. It does if it may (``wake_mac``), and its host is silent. Anything else counts as ever.
    2. It does not if it was woken, and has been silent for longer than its ``wake_timeout`` since then.
    3. It does not while its host is being rebooted: then it is awaited.

    Args:
        node: the node as the inventory describes it.
        before: its state before the check.
        seen: what the check showed.
    """
    if not node.wake_mac or not is_silent(seen) or before.recovery.reboot:
        return False
    return not before.woken_at or seen.at - before.woken_at < node.wake_timeout


def asleep(before: NodeState, now: float) -> NodeState:
    """Return the state of a node that sleeps: nobody knows how it is, and the check counts for nothing.

    An incident ends with it; what people were last notified of is kept, so that they hear of the end of it
    when the node is awake and healthy. So are its figures, its models and its latest attempts.
    """
    fell_asleep = not before.asleep_since
    return replace(
        before.unjudged(),
        since=now if fell_asleep else before.since,
        last_incident=before.incident_since or before.last_incident,
        last_check=now,
        loaded=(),
        asleep_since=now if fell_asleep else before.asleep_since,
        alerting=replace(before.alerting, acknowledged=None),
    )


def woken(before: NodeState, now: float) -> NodeState:
    """Return the state of a node to which a packet is sent that wakes it.

    One that is awaited already stays so since the first packet: more of them put no alert off.
    """
    return replace(before, woken_at=before.woken_at or now)
