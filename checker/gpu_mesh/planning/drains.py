"""Decides when a node drains: it serves, but takes no new requests, so that a restart cuts few of them off.

A person drains a node for a while. Before a repair of a node that still serves, it drains for
``mesh_node_drain`` seconds: the check notes that in the state, and recovery begins when they are over.

Deterministic: changes only the state it is given; no IO, no clock.
"""

from msgspec.structs import replace

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.recovery import Decision, Drain
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import claims
from gpu_mesh.text.humanize import format_clock, until_words

PATIENCE = 300.0
"""Seconds within which the repair must have begun after the drain; then the node takes requests again."""


def is_draining(known: NodeState, now: float) -> bool:
    """Return whether no new requests should go to the node, although it may serve."""
    drain = known.recovery.drain
    if drain is None:
        return False
    if drain.author:
        return now < drain.until
    repaired_now = known.recovery.claim is not None and claims.is_live(known.recovery.claim, now)
    return known.status is not Status.HEALTHY and (repaired_now or now < drain.until + PATIENCE)


def describe(known: NodeState, now: float) -> str:
    """Return until when a draining node drains, and why; "": it does not."""
    drain = known.recovery.drain
    if drain is None or not is_draining(known, now):
        return ""
    if not drain.author:
        return f"it is repaired at {format_clock(drain.until)}" if now < drain.until else "it is repaired now"
    reason = f": {drain.reason}" if drain.reason else ""
    return f"{drain.author} said so until {until_words(drain.until, now)}{reason}"


def first(mesh: Mesh, state: State, node: Node, decision: Decision, now: float) -> Decision:
    """Return the decision; or, if a repair can wait, that the node drains first.

    A node that fails never waits. Nor does one while no other node serves: its requests had nowhere to go.

    Args:
        mesh: the nodes.
        state: their state.
        node: the node that the decision is about.
        decision: what would be done.
        now: Unix seconds.
    """
    known = state.node(node.key)
    if decision.action is Action.NONE or not node.drain or known.failures or not known.serves:
        return decision
    drain = known.recovery.drain
    if drain and (not drain.author or is_draining(known, now)):
        due = drain.at + node.drain
        if due <= now:
            return decision
        reason = f"it takes no new requests, and is repaired at {format_clock(due)}"
    elif anyone_serves(mesh, state, now, but=node.key):
        due = now + node.drain
        reason = f"it is repaired once it has taken no new requests for {node.drain:g} s"
    else:
        return decision
    return Decision(node.key, Action.NONE, reason, decision.cause, due=due, drains=True)


def may_change(state: State) -> bool:
    """Return whether ``update`` may have something to do; few states need it."""
    return any(
        known.recovery.drain or (known.impaired and not known.failures) for known in state.nodes.values()
    )


def update(state: State, mesh: Mesh, decisions: tuple[Decision, ...], now: float) -> tuple[Event, ...]:
    """Begin the drains that are due, and end those that are over.

    Before a repair, a node drains until it is well, or until the repair has ended. If another attempt is
    due later, it serves until then.

    Args:
        state: changed in place.
        mesh: the nodes.
        decisions: what is planned for each node.
        now: Unix seconds.

    Returns:
        What has changed, for the log.
    """
    planned, events = {each.node: each for each in decisions}, []
    for key, known in state.nodes.items():
        drain = known.recovery.drain
        if drain and not _lasts(known, drain, planned.get(key), now):
            state.nodes[key] = drained(known, None)
            events.append(event("drain_ended", Severity.NOTICE, node=key, author=drain.author))
    for node in mesh.nodes:
        decision, known = planned.get(node.key), state.node(node.key)
        begins = decision and decision.drains and known.recovery.drain is None
        if begins and anyone_serves(mesh, state, now, but=node.key):
            state.nodes[node.key] = drained(known, Drain(now, now + node.drain))
            events.append(event("drain_begun", Severity.NOTICE, node=node.key, seconds=node.drain))
    return tuple(events)


def drained(known: NodeState, drain: Drain | None) -> NodeState:
    """Return the state of a node with this drain; None: with none."""
    return replace(known, recovery=replace(known.recovery, drain=drain))


def anyone_serves(mesh: Mesh, state: State, now: float, but: str = "") -> bool:
    """Return whether a node takes requests.

    Args:
        mesh: the nodes.
        state: their state.
        now: Unix seconds.
        but: the key of a node that does not count; "": all count.
    """
    return any(
        each.enabled and each.key != but and known.serves and known.models and not is_draining(known, now)
        for each in mesh.nodes
        if (known := state.nodes.get(each.key)) is not None
    )


def _lasts(known: NodeState, drain: Drain, decision: Decision | None, now: float) -> bool:
    """Return whether a drain is kept; so is one whose repair never began, lest it begin anew."""
    if drain.author:
        return now < drain.until
    if known.recovery.claim is not None and claims.is_live(known.recovery.claim, now):
        return True
    return decision is not None and (decision.drains or decision.action is not Action.NONE)
