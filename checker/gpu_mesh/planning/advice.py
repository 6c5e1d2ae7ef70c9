"""Decides what people read about a recovery: what was tried, and what they can do next. Pure.

For alerting, planning/plan.py and reporting. People copy a next step into a shell, and the output of the
owner's command comes from its host: so a next step never repeats that output.
"""

import re

from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.mesh import Node, RecoveryKind
from gpu_mesh.domain.recovery import Finding, Outcome
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning import ladder

_COMMAND_FAILED = (
    r"(mesh_(?:node|tunnel)_recovery_command) was run: the command "
    r"(ended with status \d{1,3}\b|ended well, but nothing answers|neither ended nor helped in time)"
)
"""How restart_command.yml, tunnel_command.yml and their shell functions describe a failed command."""


FOR_SLOW_CHECKS = (
    "raise mesh_monitor_check_interval; or lower mesh_node_timeout of nodes that stay silent;"
    " or give the monitor a faster or less busy machine"
)
"""The next step when the checks take longer than their interval."""


def correction(node: Node, words: str, otherwise: str) -> str:
    """Return the next step after a recovery: to correct the owner's command, if it failed.

    Args:
        node: the node.
        words: the result of the recovery in words.
        otherwise: the usual next step; it follows the correction, or is returned alone if no command failed.
    """
    failed = re.match(_COMMAND_FAILED, words)
    if failed is None:
        return otherwise
    command, answer = failed.groups()
    also = "" if command in otherwise else f"; or {otherwise}"
    return f"correct {command} of {node.key}, which {answer}{also}"


def describe_action_under_way(action: Action, node: Node, playbook: str = "") -> str:
    """Return the action as a clause of time: ``while ollama.service was being restarted``."""
    if action is Action.OWN_PLAYBOOK:
        return f"while {playbook} was running"
    if action is Action.REBUILD_TUNNEL:
        return "while the tunnel was being rebuilt"
    if action in _UNDER_WAY:
        return _UNDER_WAY[action]
    what = {
        RecoveryKind.SYSTEMD: node.unit,
        RecoveryKind.SYSTEMD_USER: node.unit,
        RecoveryKind.DOCKER: f"the container {node.container}",
    }.get(node.recovery, "Ollama")
    return f"while {what} was being restarted"


_UNDER_WAY = {
    Action.RELOAD_GPU_MODULE: "while nvidia_uvm was being reloaded",
    Action.RESET_GPU: "while its GPU was being reset",
    Action.REBOOT_HOST: "while its host was being rebooted",
}
_REPAIR = {
    Action.RELOAD_GPU_MODULE: "reload of nvidia_uvm on {host}",
    Action.RESET_GPU: "reset of a GPU of {host}",
    Action.REBOOT_HOST: "reboot of {host}",
}


def describe_action(action: Action, node: Node, playbook: str = "") -> str:
    """Return the action as a noun: ``restart of ollama.service``."""
    if action is Action.OWN_PLAYBOOK:
        return f"run of {playbook}"
    if action is Action.REBUILD_TUNNEL:
        return "rebuild of the tunnel"
    if action.repairs_gpu:
        return _REPAIR[action].format(host=node.machine)
    if node.recovery in (RecoveryKind.SYSTEMD, RecoveryKind.SYSTEMD_USER):
        return f"restart of {node.unit}"
    if node.recovery is RecoveryKind.DOCKER:
        return f"restart of the container {node.container}"
    return "restart of Ollama"


_NEXT_STEP = {
    Finding.UNIT_DISABLED: "if it should run: {systemctl} enable --now {unit} on the host of {node}; "
    "if not: mesh_node_enabled: false",
    Finding.UNIT_MISSING: "correct mesh_node_recovery or mesh_node_unit of {node}",
    Finding.UNIT_GIVEN_UP: "{systemctl} reset-failed {unit} on the host of {node}, "
    "then {systemctl} start {unit}; so that recovery may do it: run site.yml again, "
    "or add reset-failed to your own rule there",
    Finding.NO_SSH: "start the ssh server of {node}, or correct its ansible_port: "
    "no repair is possible without an ssh server",
    Finding.CANNOT_LOOK: "install curl on the host of {node}",
    Finding.AT_WORK: "wait: recovery tries again later; or restart {unit} by hand now",
    Finding.GPU_UNCLEAR: "wait: recovery looks again; "
    "or see whether nvidia-smi answers on the host of {node}",
    Finding.LEASED: "wait, and see whether that helps: gpu-mesh status; if nobody works on it any more: "
    "sudo rm -r /var/tmp/gpu-mesh-lease.d/{node}[.@]* there",
    Finding.CANNOT_LEASE: "create the folder anew on the host that is named: "
    "sudo rm -r /var/tmp/gpu-mesh-lease.d && sudo mkdir -m 1777 /var/tmp/gpu-mesh-lease.d",
}
"""The next step where the look on the host, not the cause, is the reason that nothing was done."""


def tried(node: Node, known: NodeState, since: float = 0.0) -> str:
    """Return what recovery tried, and how that ended, in words.

    Args:
        node: the node.
        known: its state.
        since: Unix seconds; earlier attempts are left out. 0.0: all attempts that still count on the ladder.
    """
    counts: dict[str, dict[str, int]] = {}
    for attempt in known.recovery.attempts if since else ladder.counting(known):
        if attempt.at < since:
            continue
        found = attempt.words if attempt.outcome is Outcome.DECLINED else ""
        words = ": ".join(filter(None, (_ENDED[attempt.outcome], without_left_alone(found))))
        ended = counts.setdefault(describe_action(attempt.action, node, attempt.playbook), {})
        ended[words] = ended.get(words, 0) + 1
    return "; ".join(
        f"{what} {', '.join(_times(*each) for each in of.items())}" for what, of in counts.items()
    )


def _times(words: str, number: int) -> str:
    return f"{words} ({number} times)" if number > 1 else words


def describe_outcome(outcome: Outcome) -> str:
    """Return the outcome of a recovery in words that follow the action: ``restart of X`` ``did not help``."""
    return _ENDED[outcome]


_ENDED = {
    Outcome.RECOVERED: "helped",
    Outcome.UNPROVED: "is unproved until a model is loaded again",
    Outcome.DECLINED: "was not tried",
    Outcome.FAILED: "failed",
    Outcome.NOT_RECOVERED: "did not help",
    Outcome.LOST: "was cut off",
}


def step_after(node: Node, finding: Finding, cause: Cause | None, words: str = "") -> str:
    """Return the next step after a recovery.

    Args:
        node: the node.
        finding: what the look on the host found.
        cause: what is wrong; None: not known.
        words: the result of the recovery in words.
    """
    if finding is Finding.CANNOT_LEASE and "No space left" in words:
        return f"make room on the host of {node.key}: df -h /var/tmp"
    if finding is Finding.AT_WORK and cause and CAUSES[cause].rules_out_restart:
        return f"wait: recovery tries again later; or {diagnose.next_step(cause, node)}"
    if finding in _NEXT_STEP:
        own = node.recovery is RecoveryKind.SYSTEMD_USER
        systemctl = "systemctl --user" if own else "sudo systemctl"
        return _NEXT_STEP[finding].format(unit=node.unit, node=node.key, systemctl=systemctl)
    usual = diagnose.next_step(cause, node) if cause else "see what is wrong with it: gpu-mesh status"
    return correction(node, words, usual)


def step_now(node: Node, known: NodeState) -> str:
    """Return the next step for what is wrong with the node now. The last look does not count."""
    return step_after(node, Finding.NONE, known.cause, ladder.last_words(node, known))


def without_left_alone(words: str) -> str:
    """Return a playbook's words without what it adds for a person who runs it by hand."""
    return re.sub(r"; nothing was (?:restarted|touched|rebooted|reloaded|reset)\b", "", words)
