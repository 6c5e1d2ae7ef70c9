"""What a look on a node's host finds and what a repair brings, made up from the words of a trace. Pure.

For simulator.py: it takes the place of playbook.py and of the playbooks, whose course and words it follows.
"""

from msgspec.structs import replace

from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.mesh import Node, RecoveryKind
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import findings
from gpu_mesh.simulation.fake_probe import Effect, Facts, Scenario

_SILENT = frozenset(
    {Scenario.REFUSED, Scenario.CONNECT_TIMEOUT, Scenario.HANG, Scenario.RESET, Scenario.CLOSE}
    | {Scenario.HTTP_500, Scenario.HTTP_502, Scenario.HTTP_503}
)
"""What an Ollama shows that does not answer on its own host either, unless the trace says that it does."""


def look(facts: Facts) -> Finding:
    """Return what a look on the node's own host finds."""
    if facts.look and not facts.look.startswith("port_"):
        return facts.look
    if facts.shows is Scenario.NO_ROUTE:
        return Finding.HOST_DOWN
    return Finding.SILENT if facts.shows in _SILENT else Finding.ANSWERS


def act(
    node: Node, facts: Facts, action: Action, cause: Cause | None, limit: float
) -> tuple[PlaybookResult, Facts]:
    """Return what comes of a recovery's playbook, and what is true of the node afterwards.

    Args:
        node: the node.
        facts: what is true of it when the playbook begins.
        action: which playbook.
        cause: as the probe called it.
        limit: seconds that a playbook may take.
    """
    if action is Action.REBUILD_TUNNEL:
        finding, said, may = _at_the_tunnel(node, facts, cause)
        effect, did, contacted = facts.rebuild, _rebuilt(node), "the monitor"
    elif action is Action.OWN_PLAYBOOK:
        finding, said, may = Finding.NONE, "", True
        effect, did, contacted = facts.own_playbook, "", node.key
    else:
        finding, said, may = _on_the_host(node, facts, cause)
        effect, did, contacted = facts.restart, _restarted(node), node.key
    report = PlaybookResult(
        success=True, contacted=contacted, looked=True, finding=finding, said=said, seconds=facts.takes
    )
    if finding in _UNREACHABLE:
        why = _UNREACHABLE[finding].format(node=node.key)
        return replace(report, success=False, unreachable=True, looked=False, reason=why), facts
    if not may:
        return report, facts
    if effect is Effect.HANGS:
        why = f"the playbook was ended: it took longer than {limit:g} s"
        return replace(report, success=False, reason=why, seconds=limit), facts
    if effect is Effect.FAILS:
        waited = facts.takes + _AWAITED.get(action, 0.0)
        return replace(report, success=False, reason=_failed(node, action, did), seconds=waited), facts
    report = replace(report, done=True, said=_went_through(node, action, did, finding))
    after = {Effect.HELPS: Scenario.OK, Effect.NO_MODELS: Scenario.NO_MODELS}.get(effect)
    return report, facts if after is None else replace(facts, shows=after, detail="", look=None)


_AWAITED = {Action.RESTART_OLLAMA: 20.0, Action.REBUILD_TUNNEL: 15.0}
"""Seconds for which the playbooks wait for what does not come back."""

_UNREACHABLE = {
    Finding.HOST_DOWN: "ssh: connect to host {node} port 22: Connection timed out",
    Finding.NO_ACCESS: "Permission denied (publickey).",
}


def _on_the_host(node: Node, facts: Facts, cause: Cause | None) -> tuple[Finding, str, bool]:
    """Return what restart_ollama.yml finds, how it says so, and whether it goes on to restart."""
    finding = look(facts)
    if finding is Finding.ANSWERS and cause in findings.RESTARTED_THOUGH_IT_ANSWERS:
        return finding, "", True
    said = {
        Finding.ANSWERS: "Ollama answers on its own host; nothing was restarted",
        Finding.CANNOT_LOOK: "its host has nothing to ask Ollama with; nothing was restarted",
        Finding.UNIT_MISSING: f"its host has no unit {node.unit}; nothing was restarted",
        Finding.UNIT_DISABLED: f"{node.unit} is disabled or masked on its host and was left alone",
        **_LEASES,
    }
    return finding, said.get(finding, ""), finding is Finding.SILENT


_LEASES = {
    Finding.LEASED: "monitor-2 repairs it just now",
    Finding.CANNOT_LEASE: "the folder of the leases on its host is not to be trusted",
}


def _at_the_tunnel(node: Node, facts: Facts, cause: Cause | None) -> tuple[Finding, str, bool]:
    """Return what rebuild_tunnel.yml finds at the local port, how it says so, and whether it rebuilds."""
    port = node.tunnel.local_port if node.tunnel else 0
    if facts.look is Finding.PORT_TAKEN:
        return (
            facts.look,
            f"local port {port} is held by another, not by the tunnel; nothing was touched",
            False,
        )
    if cause not in findings.REBUILD_HELPS:
        return (
            Finding.PORT_IS_OURS,
            f"local port {port} is held by the tunnel itself; nothing was touched",
            False,
        )
    if facts.look in _LEASES:
        return facts.look, _LEASES[facts.look], False
    return (
        Finding.PORT_WAS_SILENT if facts.shows is Scenario.REFUSED else Finding.PORT_WAS_LISTENING,
        "",
        True,
    )


def _restarted(node: Node) -> str:
    if node.recovery is RecoveryKind.DOCKER:
        return f"restarted the container {node.container}"
    if node.recovery is RecoveryKind.COMMAND:
        return "ran mesh_node_recovery_command"
    return f"restarted {node.unit}"


def _rebuilt(node: Node) -> str:
    own = node.tunnel and node.tunnel.recovery_command
    return "ran mesh_tunnel_recovery_command" if own else f"restarted gpu-mesh-tunnel@{node.key}.service"


def _failed(node: Node, action: Action, did: str) -> str:
    if action is Action.OWN_PLAYBOOK:
        return "a task of it failed"
    if action is Action.REBUILD_TUNNEL and node.tunnel:
        return f"{did}, but local port {node.tunnel.local_port} is not listening after 15 s"
    return f"{did}, but Ollama does not answer on its own host after 20 s"


def _went_through(node: Node, action: Action, did: str, finding: Finding) -> str:
    if action is Action.OWN_PLAYBOOK:
        return ""
    if action is Action.REBUILD_TUNNEL and node.tunnel:
        before = "so it was before" if finding is Finding.PORT_WAS_LISTENING else "it was not before"
        return f"{did}; local port {node.tunnel.local_port} is listening ({before})"
    return f"{did}, and Ollama answers on its own host"
