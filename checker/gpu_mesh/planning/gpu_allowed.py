"""Decides which repair of a node's GPUs is the next step: none, unless the operator allows it. Pure.

planning/gpu_repair.py judges the look before such a repair and the one after it.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import GpuFacts, Place
from gpu_mesh.domain.mesh import GpuRecovery, Mesh, Node, RecoveryKind
from gpu_mesh.domain.recovery import REFUSED, Attempt, Outcome
from gpu_mesh.domain.state import NodeState

HELPS: Mapping[Action, frozenset[Cause]] = {
    Action.RELOAD_GPU_MODULE: frozenset({Cause.GPU_UVM_MISSING, Cause.GPU_SUSPENDED}),
    Action.RESET_GPU: frozenset({Cause.GPU_RESET_NEEDED}),
    Action.REBOOT_HOST: frozenset(
        {
            Cause.GPU_LOST,
            Cause.GPU_DRIVER_STUCK,
            Cause.GPU_DRIVER_MISMATCH,
            Cause.GPU_DRIVER_ABSENT,
            Cause.GPU_INIT_FAILED,
            Cause.GPU_RESET_NEEDED,
        }
    ),
}
"""The causes against which each repair helps."""

ALLOWED: Mapping[GpuRecovery, tuple[Action, ...]] = {
    GpuRecovery.NONE: (),
    GpuRecovery.RELOAD: (Action.RELOAD_GPU_MODULE,),
    GpuRecovery.RESET: (Action.RELOAD_GPU_MODULE, Action.RESET_GPU),
    GpuRecovery.REBOOT: (Action.RELOAD_GPU_MODULE, Action.REBOOT_HOST),
}
"""What the operator allows by each value. A reboot resets the cards, too, so none is made before it."""


def next_repair(node: Node, known: NodeState) -> Action:
    """Return the repair of its GPUs that is the node's next step; NONE: none is.

    1. The operator allows it, and it is not on the monitor's own host, whose recovery has no way to root.
    2. It helps against the cause, which was seen on the host itself: a container that starts again has the
       same driver. After an update of the driver, what is loaded works on: then only if Ollama fails.
    3. Once in an incident and once in a day. Not after the host has refused, and not once a person was
       called, who may be at work there.
    """
    if (
        node.recovery is RecoveryKind.NONE
        or node.on_monitor
        or known.gpu is None
        or known.gpu.facts.place is not Place.HOST
        or known.recovery.called_at
        or (known.cause is Cause.GPU_DRIVER_MISMATCH and not known.failures)
    ):
        return Action.NONE
    helping = (
        action
        for action in ALLOWED[node.gpu_recovery]
        if helps(action, known.cause, known.gpu.facts)
        and not any(_rules_out(each, action) for each in known.recovery.attempts)
    )
    return next(helping, Action.NONE)


def helps(action: Action, cause: Cause | None, facts: GpuFacts) -> bool:
    """Return whether a repair helps against the cause that a look has shown.

    A card is reset only where the driver itself asks for that: the host's program asks it for which one.
    """
    if cause not in HELPS.get(action, ()):
        return False
    asks = any(card.reset_required or "reset" in card.recovery_action for card in facts.cards)
    return asks or action is not Action.RESET_GPU


def _rules_out(attempt: Attempt, action: Action) -> bool:
    refused = attempt.finding in REFUSED
    return attempt.action is action and (attempt.outcome is not Outcome.DECLINED or refused)


def without_repairs(mesh: Mesh) -> Mesh:
    """Return the mesh with no repair of GPUs allowed: where another monitor could begin one, too."""
    return replace(mesh, nodes=tuple(replace(node, gpu_recovery=GpuRecovery.NONE) for node in mesh.nodes))
