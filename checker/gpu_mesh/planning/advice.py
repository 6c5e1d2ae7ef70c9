"""Reads from what a recovery said whether the owner's command is at fault, and says what to correct. Pure.

For aftermath.py and plan.py. What the command printed comes from its host: of that nothing is repeated here,
for a next step is there to be copied.
"""

import re

from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.mesh import Node, RecoveryKind
from gpu_mesh.domain.recovery import Finding, Outcome
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning import ladder

_SAID = re.compile(
    r"(mesh_(?:node|tunnel)_recovery_command) was run: the command "
    r"(ended with status \d{1,3}\b|ended well, but nothing answers|neither ended nor helped in time)"
)
"""What restart_command.yml, tunnel_command.yml and the shell functions that they call say of a failure."""


def correction(node: Node, words: str, otherwise: str) -> str:
    """Return what a person can do after a recovery that ended with these words.

    Args:
        node: the node.
        words: what is remembered of the recovery.
        otherwise: what a person can do in any case; it stands alone where no command is at fault.
    """
    said = _SAID.match(words)
    if said is None:
        return otherwise
    command, answer = said.groups()
    also = "" if command in otherwise else f"; or {otherwise}"
    return f"correct {command} of {node.key}, which {answer}{also}"


def describe_action_under_way(action: Action, node: Node, playbook: str = "") -> str:
    """Say that the action goes on: ``while ollama.service was being restarted``."""
    if action is Action.OWN_PLAYBOOK:
        return f"while {playbook} was running"
    if action is Action.REBUILD_TUNNEL:
        return "while the tunnel was being rebuilt"
    what = {
        RecoveryKind.SYSTEMD: node.unit,
        RecoveryKind.SYSTEMD_USER: node.unit,
        RecoveryKind.DOCKER: f"the container {node.container}",
    }.get(node.recovery, "Ollama")
    return f"while {what} was being restarted"


def describe_action(action: Action, node: Node, playbook: str = "") -> str:
    """Say the action as a noun: ``restart of ollama.service``."""
    if action is Action.OWN_PLAYBOOK:
        return f"run of {playbook}"
    if action is Action.REBUILD_TUNNEL:
        return "rebuild of the tunnel"
    if node.recovery in (RecoveryKind.SYSTEMD, RecoveryKind.SYSTEMD_USER):
        return f"restart of {node.unit}"
    return (
        f"restart of the container {node.container}"
        if node.recovery is RecoveryKind.DOCKER
        else ("restart of Ollama")
    )


_NEXT_STEP = {
    Finding.UNIT_DISABLED: "if it should run: systemctl enable --now {unit} on the host of {node}; "
    "if not: mesh_node_enabled: false",
    Finding.UNIT_MISSING: "correct mesh_node_recovery or mesh_node_unit of {node}",
    Finding.CANNOT_LOOK: "install curl on the host of {node}",
    Finding.AT_WORK: "wait, for it is looked at again; or restart {unit} by hand all the same",
    Finding.LEASED: "wait, and see whether that helps: gpu-mesh status; where nobody is at work any more: "
    "rm -r /var/tmp/gpu-mesh-lease.d/{node}[.@]* there",
    Finding.CANNOT_LEASE: "make it anew on the host that it names: "
    "rm -r /var/tmp/gpu-mesh-lease.d; mkdir -m 1777 /var/tmp/gpu-mesh-lease.d",
}
"""What a person can do where the look, not the cause, says why nothing was done."""


def tried(node: Node, known: NodeState, since: float = 0.0) -> str:
    """Say what was tried since then (Unix seconds; 0.0: as far as it counts still), and how it ended."""
    counts: dict[str, dict[str, int]] = {}
    for attempt in known.recovery.attempts if since else ladder.counting(known):
        if attempt.at < since:
            continue
        found = attempt.words if attempt.outcome is Outcome.DECLINED else ""
        words = ": ".join(filter(None, (_ENDED[attempt.outcome], LEFT_ALONE.sub("", found))))
        ended = counts.setdefault(describe_action(attempt.action, node, attempt.playbook), {})
        ended[words] = ended.get(words, 0) + 1
    return "; ".join(
        f"{what} {', '.join(_times(*each) for each in of.items())}" for what, of in counts.items()
    )


def _times(words: str, number: int) -> str:
    return f"{words} ({number} times)" if number > 1 else words


def describe_outcome(outcome: Outcome) -> str:
    """Say how a recovery ended."""
    return _ENDED[outcome]


_ENDED = {
    Outcome.RECOVERED: "helped",
    Outcome.DECLINED: "was not tried",
    Outcome.FAILED: "failed",
    Outcome.NOT_RECOVERED: "did not help",
    Outcome.LOST: "was cut off",
}


def step_after(node: Node, finding: Finding, cause: Cause | None, words: str = "") -> str:
    """Say what a person can do after a recovery whose look found this, and that ended with these words."""
    if finding in _NEXT_STEP:
        return _NEXT_STEP[finding].format(unit=node.unit, node=node.key)
    usual = diagnose.next_step(cause, node) if cause else "see what is wrong with it: gpu-mesh status"
    return correction(node, words, usual)


def step_now(node: Node, known: NodeState) -> str:
    """Say what a person can do about what is wrong with the node now, whatever the last look found."""
    return step_after(node, Finding.NONE, known.cause, ladder.last_words(node, known))


LEFT_ALONE = re.compile(r"; nothing was (?:restarted|touched)\b")
"""What the playbooks add for whoever runs them by hand."""
