"""Decides whether a node's host may be rebooted for a cause of its GPUs, and for how long it is away. Pure.

planning/gpu_reboot.py judges the look before a reboot and the one after it.
"""

from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import Place
from gpu_mesh.domain.mesh import GpuRecovery, Node, RecoveryKind
from gpu_mesh.domain.recovery import Attempt, Finding, Outcome
from gpu_mesh.domain.state import NodeState
from gpu_mesh.text.humanize import format_clock

REBOOT_HELPS = frozenset(
    {
        Cause.GPU_LOST,
        Cause.GPU_DRIVER_STUCK,
        Cause.GPU_DRIVER_MISMATCH,
        Cause.GPU_DRIVER_ABSENT,
        Cause.GPU_INIT_FAILED,
        Cause.GPU_RESET_NEEDED,
    }
)
"""The causes for which an operator may allow a reboot."""

EXPECTED_BACK = 600.0
"""Seconds after which a host that was rebooted must answer again."""


def is_allowed(node: Node, known: NodeState) -> bool:
    """Return whether a reboot of the node's host is the next step for its cause.

    1. The operator allows it, and it is not the monitor's own host.
    2. The cause is one of REBOOT_HELPS, seen on the host itself: a container that starts again has the same
       driver. After an update of the driver, what is loaded works on: then only if Ollama fails.
    3. Once in an incident and once in a day. Not after the host has refused, and not once a person was
       called, who may be at work there.
    """
    return (
        node.gpu_recovery is GpuRecovery.REBOOT
        and node.recovery is not RecoveryKind.NONE
        and not node.on_monitor
        and known.cause in REBOOT_HELPS
        and not (known.cause is Cause.GPU_DRIVER_MISMATCH and not known.failures)
        and known.gpu is not None
        and known.gpu.facts.place is Place.HOST
        and not known.recovery.called_at
        and not any(map(_rules_out_another, known.recovery.attempts))
    )


def _rules_out_another(attempt: Attempt) -> bool:
    refused = attempt.finding == Finding.REBOOT_REFUSED.value
    return attempt.action is Action.REBOOT_HOST and (attempt.outcome is not Outcome.DECLINED or refused)


def is_under_way(known: NodeState, now: float) -> bool:
    """Return whether the node's host is being rebooted, and is not expected back yet."""
    return known.recovery.reboot is not None and now < known.recovery.reboot.until


def describe(known: NodeState) -> str:
    """Return since when the host is being rebooted, and by when it is expected back; "": it is not."""
    reboot = known.recovery.reboot
    if reboot is None:
        return ""
    back = format_clock(reboot.until)
    return f"its host was rebooted at {format_clock(reboot.at)} and is expected back by {back}"
