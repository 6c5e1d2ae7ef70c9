"""Makes up what a look on a node's host finds and what a repair does, from the words of a trace. Pure.

For simulator.py, in the place of hosts/playbook.py and the playbooks: it has the same steps, words and waits.
tests/unit/simulation/test_fake_recovery.py compares these with the playbooks.
"""

from msgspec.structs import replace

from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import GpuFacts
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts.playbook_result import PlaybookResult, took_too_long
from gpu_mesh.planning import addresses, findings, gpu_repair, gpu_restart
from gpu_mesh.recovery.values import Job
from gpu_mesh.simulation import fake_gpu
from gpu_mesh.simulation.fake_gpu import Gpu
from gpu_mesh.simulation.fake_probe import Effect, Facts, Scenario
from gpu_mesh.text.humanize import format_clock

_SILENT = frozenset(
    {Scenario.REFUSED, Scenario.CONNECT_TIMEOUT, Scenario.HANG, Scenario.RESET, Scenario.CLOSE}
    | {Scenario.HTTP_500, Scenario.HTTP_502, Scenario.HTTP_503}
)
"""With these, Ollama does not answer on its own host either, unless the trace says that it does."""


def look(facts: Facts) -> Finding:
    """Return what a look on the node's own host finds."""
    if facts.look and not facts.look.startswith(("port_", "reboot_", "repair_")):
        return facts.look
    if facts.shows is Scenario.NO_ROUTE:
        return Finding.HOST_DOWN
    return Finding.SILENT if facts.shows in _SILENT else Finding.ANSWERS


def act(job: Job, action: Action, facts: Facts, mesh: Mesh, at: float) -> tuple[PlaybookResult, Facts]:
    """Return the result of a recovery's playbook, and what is true about the node afterwards.

    Args:
        job: the recovery.
        action: which of its playbooks.
        facts: what is true about the node when the playbook begins.
        mesh: all nodes, and the setting for how long a playbook may take.
        at: when it begins, in Unix seconds.
    """
    node = job.node
    if action.repairs_gpu:
        return _repair_gpu(job, action, facts, mesh, at)
    if action is Action.REBUILD_TUNNEL:
        finding, said, may = _at_the_tunnel(node, facts, job.cause, at)
        effect, contacted = facts.rebuild, "the monitor"
    elif action is Action.OWN_PLAYBOOK:
        finding, said, may = Finding.NONE, "", True
        effect, contacted = facts.own_playbook, node.key
    else:
        finding, said, may = _on_the_host(node, facts, job.cause, mesh, at)
        effect, contacted = facts.restart, node.key
    gpu = _gpu(facts, at) if action is Action.RESTART_OLLAMA else None
    if may and gpu:
        judged = gpu_restart.judge(node, job.before.gpu, gpu, job.cause)
        if judged.finding is not Finding.NONE:
            finding, said, may = judged.finding, f"{judged.words}; nothing was restarted", False
    report = PlaybookResult(
        success=True,
        contacted=contacted,
        looked=True,
        finding=finding,
        said=said,
        seconds=facts.takes,
        gpu=gpu,
    )
    if finding in _UNREACHABLE:
        why = _UNREACHABLE[finding].format(node=node.key)
        return replace(report, success=False, unreachable=True, looked=False, reason=why), facts
    if not may:
        return report, facts
    if effect is Effect.HANGS:
        limit = mesh.settings.recovery_timeout
        return replace(report, success=False, reason=took_too_long(limit), seconds=limit), facts
    if effect is Effect.FAILS:
        waited = facts.takes + awaited(node, action)
        return replace(report, success=False, reason=_failed(node, action), seconds=waited), facts
    report = replace(report, done=True, said=_went_through(node, action, finding))
    after = {Effect.HELPS: Scenario.OK, Effect.NO_MODELS: Scenario.NO_MODELS}.get(effect)
    if after is None:
        return report, facts
    # A restart ends the runner that holds the memory.
    card = Gpu.WELL if facts.gpu is Gpu.HELD else facts.gpu
    return report, replace(facts, shows=after, detail="", look=None, gpu=card)


AWAY = 120.0
"""Seconds for which a host that reboots does not answer."""

REFUSED = "process 4711 (python3) uses a GPU"
"""Why a host refuses a repair of its GPUs."""

_REFUSES = {Action.REBOOT_HOST: Finding.REBOOT_REFUSED}
_DONE = {
    Action.RELOAD_GPU_MODULE: ("a reload", "reloaded", "reloaded nvidia_uvm"),
    Action.RESET_GPU: ("a reset", "reset", "reset its GPU"),
    Action.REBOOT_HOST: ("a reboot", "rebooted", "its host reboots"),
}
"""Words for a repair of GPUs: what it is, what was not done, what was."""


def _gpu(facts: Facts, at: float) -> GpuFacts | None:
    return fake_gpu.look(facts.gpu, at, facts.boots) if facts.gpu else None


def _repair_gpu(
    job: Job, action: Action, facts: Facts, mesh: Mesh, at: float
) -> tuple[PlaybookResult, Facts]:
    """Return what came of a repair of GPUs, and what is true about the node then: its host may be away."""
    gpu, found, refuses = _gpu(facts, at), look(facts), _REFUSES.get(action, Finding.REPAIR_REFUSED)
    judged = gpu_repair.judge(action, job.node, job.before.gpu, gpu, job.cause)
    finding, said = judged.finding, judged.words
    repair, nothing, did = _DONE[action]
    words = {
        Finding.AT_WORK: f"a model is generating on its host, and {repair} would cut that off",
        refuses: f"{said}; its host refuses {repair}: {REFUSED}",
        **_leases("reboots its host" if action is Action.REBOOT_HOST else "repairs it", at),
    }
    at_fault = finding is Finding.GPU_AT_FAULT
    if at_fault and facts.look in words:
        finding, said = facts.look, words[facts.look]
    if finding is not Finding.GPU_AT_FAULT and finding not in (Finding.LEASED, Finding.CANNOT_LEASE):
        said = f"{said}; nothing was {nothing}"
    report = PlaybookResult(
        success=True,
        contacted=job.node.key,
        looked=True,
        finding=finding,
        said=said,
        seconds=facts.takes,
        gpu=gpu,
    )
    if found in _UNREACHABLE:
        why = _UNREACHABLE[found].format(node=job.node.key)
        return replace(
            report, success=False, unreachable=True, looked=False, finding=found, said="", reason=why
        ), facts
    if finding is not Finding.GPU_AT_FAULT:
        return report, facts
    effect = facts.reboot if action is Action.REBOOT_HOST else facts.gpu_repair
    if effect is Effect.HANGS:
        limit = mesh.settings.recovery_timeout
        return replace(report, success=False, reason=took_too_long(limit), seconds=limit), facts
    if action is Action.REBOOT_HOST:
        if effect is Effect.FAILS:
            return replace(report, success=False, reason="the host gave no answer"), facts
        away = replace(facts, shows=Scenario.NO_ROUTE, detail="", look=None, boots=facts.boots + 1)
        return replace(report, done=True), away
    if effect is Effect.FAILS:
        failed = f"{said}; the {repair.removeprefix('a ')} failed: Ollama does not stop"
        return replace(report, success=False, reason=failed), facts
    report = replace(report, done=True, said=f"{said}; {did}, and Ollama answers on its own host")
    after = {Effect.HELPS: Scenario.OK, Effect.NO_MODELS: Scenario.NO_MODELS}.get(effect)
    if after is None:
        return report, facts
    return report, replace(facts, shows=after, detail="", look=None, gpu=Gpu.WELL)


def is_back(before: Facts, away: Facts) -> Facts:
    """Return what is true about a node when its host has rebooted.

    Args:
        before: what was true before the reboot.
        away: what is true meanwhile.
    """
    after = {Effect.HELPS: Scenario.OK, Effect.NO_MODELS: Scenario.NO_MODELS}.get(before.reboot)
    if after is None:
        return replace(before, boots=away.boots)
    return replace(away, shows=after, gpu=Gpu.WELL if before.gpu else None)


def is_reachable(facts: Facts) -> bool:
    """Return whether the monitor can log in on the host."""
    return look(facts) not in _UNREACHABLE


def awaited(node: Node, action: Action) -> float:
    """Return for how many seconds the playbook waits for an Ollama or a port that does not come back."""
    if action is Action.OWN_PLAYBOOK:
        return 0.0
    if action is Action.REBUILD_TUNNEL:
        return 15.0
    return 30.0 if node.recovery is RecoveryKind.COMMAND else 20.0


_UNREACHABLE = {
    Finding.HOST_DOWN: "ssh: connect to host {node} port 22: Connection timed out",
    Finding.NO_SSH: "ssh: connect to host {node} port 22: Connection refused",
    Finding.NO_ACCESS: "Permission denied (publickey).",
}
"""What ssh says; the playbooks have no words for it."""


def _on_the_host(
    node: Node, facts: Facts, cause: Cause | None, mesh: Mesh, at: float
) -> tuple[Finding, str, bool]:
    """Return what restart_ollama.yml finds, its words for it, and whether it restarts."""
    finding = look(facts)
    if finding is Finding.ANSWERS and cause in findings.RESTARTED_THOUGH_IT_ANSWERS:
        return finding, "Ollama answers /api/tags on its own host", True
    asked = ", ".join(addresses.of_ollama(node, mesh))
    said = {
        Finding.SILENT: "Ollama does not answer on its own host either",
        Finding.ANSWERS: f"Ollama answers on its own host ({asked} asked); nothing was restarted",
        Finding.CANNOT_LOOK: (
            "its host has neither curl, wget, python3 nor bash to ask Ollama with; nothing was restarted"
        ),
        Finding.UNIT_MISSING: f"its host has no unit {node.unit}; nothing was restarted",
        Finding.UNIT_DISABLED: f"{node.unit} is disabled or masked on its host and was left alone",
        Finding.UNIT_GIVEN_UP: (
            f"systemd has given {node.unit} up because it ended too often, and this login may not let it"
            " start again; nothing was restarted"
        ),
        Finding.AT_WORK: (
            "a model is generating on its host, and a restart would cut that off; nothing was restarted"
        ),
        **_leases("restarts it", at),
    }
    return finding, said.get(finding, ""), finding is Finding.SILENT


OTHER_MONITOR = "monitor-2"
LEASE = 150.0
"""Seconds for which the other monitor has taken the node's lease: the value for the usual time limit."""

UNSAFE = "/var/tmp/gpu-mesh-lease.d of mallory can be changed by others"  # noqa: S108 - not used here
"""Why a lease cannot be taken."""


def _leases(does: str, at: float) -> dict[Finding, str]:
    """Return the words of a playbook that leaves the node alone because of its lease."""
    held = f"{OTHER_MONITOR} {does} since {format_clock(at)}, its lease ends {format_clock(at + LEASE)}"
    refused = f"its lease cannot be taken: {UNSAFE}; nothing was touched"
    return {Finding.LEASED: held, Finding.CANNOT_LEASE: refused}


def _at_the_tunnel(node: Node, facts: Facts, cause: Cause | None, at: float) -> tuple[Finding, str, bool]:
    """Return what rebuild_tunnel.yml finds at the local port, its words for it, and whether it rebuilds."""
    port = node.tunnel.local_port if node.tunnel else 0
    if facts.look is Finding.PORT_TAKEN:
        said = f"local port {port} is held by another, not by the tunnel; nothing was touched"
        return facts.look, said, False
    if cause not in findings.REBUILD_HELPS:
        said = f"local port {port} is held by the tunnel itself; nothing was touched"
        return Finding.PORT_IS_OURS, said, False
    leases = _leases("rebuilds its tunnel", at)
    if facts.look in leases:
        return facts.look, leases[facts.look], False
    if facts.shows is Scenario.REFUSED:
        return Finding.PORT_WAS_SILENT, f"nothing listens on local port {port}", True
    return Finding.PORT_WAS_LISTENING, f"the tunnel listens on local port {port}", True


def _did(node: Node, action: Action) -> str:
    """Return the playbook's words for what it did."""
    if action is Action.REBUILD_TUNNEL:
        own = node.tunnel and node.tunnel.recovery_command
        return "ran mesh_tunnel_recovery_command" if own else f"restarted gpu-mesh-tunnel@{node.key}.service"
    return {
        RecoveryKind.SYSTEMD_USER: f"restarted the user's {node.unit}",
        RecoveryKind.DOCKER: f"restarted the container {node.container}",
        RecoveryKind.COMMAND: "ran mesh_node_recovery_command",
    }.get(node.recovery, f"restarted {node.unit}")


def _failed(node: Node, action: Action) -> str:
    """Return the reason of a playbook that failed after it had waited."""
    if action is Action.OWN_PLAYBOOK:
        return "a task of it failed"
    did, waited = _did(node, action), f"{awaited(node, action):g} s"
    if action is Action.REBUILD_TUNNEL and node.tunnel:
        if node.tunnel.recovery_command:
            return f"mesh_tunnel_recovery_command was run: {_IN_VAIN}"
        return f"{did}, but local port {node.tunnel.local_port} is not listening after {waited}"
    if node.recovery is RecoveryKind.COMMAND:
        return f"mesh_node_recovery_command was run: {_IN_VAIN}"
    return f"{did}, but Ollama does not answer on its own host after {waited}"


_IN_VAIN = "the command ended well, but nothing answers"


def _went_through(node: Node, action: Action, finding: Finding) -> str:
    """Return the words of a playbook that has seen Ollama, or the port, come back."""
    if action is Action.OWN_PLAYBOOK:
        return ""
    if action is Action.REBUILD_TUNNEL and node.tunnel:
        before = "so it was before" if finding is Finding.PORT_WAS_LISTENING else "it was not before"
        return f"{_did(node, action)}; local port {node.tunnel.local_port} is listening ({before})"
    return f"{_did(node, action)}, and Ollama answers on its own host"
