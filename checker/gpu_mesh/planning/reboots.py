"""Decides for how long a host that is rebooted for a cause of its GPUs is away. Pure."""

from gpu_mesh.domain.state import NodeState
from gpu_mesh.text.humanize import format_clock

EXPECTED_BACK = 600.0
"""Seconds after which a host that was rebooted must answer again."""


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
