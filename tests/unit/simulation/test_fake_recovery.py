"""The simulator says of a repair what the playbooks say, and waits as long as they do.

The templates of the playbooks' own YAML are rendered here, and the functions of their shell files are run.
"""

import re
import subprocess
from typing import Any

import jinja2
import msgspec
import pytest
import yaml

from checkout import ROOT
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Tunnel
from gpu_mesh.domain.recovery import Claim, Finding
from gpu_mesh.domain.state import NodeState
from gpu_mesh.hosts.playbook import HOLD_MARGIN
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import gpu_repair, gpu_restart
from gpu_mesh.planning.addresses import of_ollama
from gpu_mesh.recovery import repair, values
from gpu_mesh.recovery.values import Job
from gpu_mesh.simulation import fake_gpu, fake_recovery, simulator
from gpu_mesh.simulation.fake_gpu import Gpu
from gpu_mesh.simulation.fake_probe import Effect, Facts, Scenario

PLAYBOOKS = ROOT / "playbooks/recovery"
KINDS = [kind for kind in RecoveryKind if kind is not RecoveryKind.NONE]
NOW = 1_700_000_000.0


def of(kind: RecoveryKind, own_command: str = "") -> Node:
    tunnel = Tunnel("pod", 8080, recovery_command=own_command)
    return Node("gpu1", "GPU one", "http://127.0.0.1:8080", recovery=kind, container="box", tunnel=tunnel)


NODE = of(RecoveryKind.SYSTEMD)


def simulated(node: Node, action: Action, cause: Cause | None, **facts: Any) -> PlaybookResult:
    job = Job(node, Claim(NOW, NOW + 150, 1, action), NodeState(), cause)
    report, _ = fake_recovery.act(job, action, Facts(**facts), Mesh((node,)), NOW)
    return report


def restart(node: Node = NODE, cause: Cause = Cause.TIMEOUT, **facts: Any) -> PlaybookResult:
    return simulated(node, Action.RESTART_OLLAMA, cause, **{"shows": Scenario.HANG, **facts})


def rebuild(node: Node = NODE, cause: Cause = Cause.TUNNEL_DOWN, **facts: Any) -> PlaybookResult:
    return simulated(node, Action.REBUILD_TUNNEL, cause, **{"shows": Scenario.REFUSED, **facts})


def document(file: str) -> Any:
    return yaml.safe_load((PLAYBOOKS / file).read_text(encoding="utf-8"))


def found(key: str, within: Any) -> list[Any]:
    """Return every value of that key, at any depth, in the order of the file."""
    if isinstance(within, list):
        return [value for each in within for value in found(key, each)]
    if not isinstance(within, dict):
        return []
    return [
        value for name, each in within.items() for value in ([each] if name == key else []) + found(key, each)
    ]


def rendered(template: str, node: Node, **variables: Any) -> str:
    """Render a template as Ansible does, with what the checker hands over."""
    env = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    env.filters["regex_search"] = lambda text, pattern, *_: list(re.search(pattern, text).groups())
    known = {
        "gpu_mesh_node": msgspec.to_builtins(node),
        "gpu_mesh_addresses": of_ollama(node, Mesh((node,))),
        "gpu_mesh_local_port": node.tunnel.local_port if node.tunnel else 0,
        "gpu_mesh_tunnel_unit": rendered(UNIT, node, inventory_hostname=node.key) if template != UNIT else "",
    }
    return env.from_string(template).render({**known, **variables}).strip()


UNIT = document("rebuild_tunnel.yml")[0]["vars"]["gpu_mesh_tunnel_unit"]


def words(file: str) -> dict[str, str]:
    """Return what a playbook says of each finding."""
    (play,) = document(file)
    said: dict[str, str] = play["vars"]["gpu_mesh_words"]
    return said


OF_GPU = {Finding.GPU_AT_FAULT: Gpu.LOST, Finding.GPU_UNCLEAR: Gpu.STUCK, Finding.GPU_WELL: Gpu.WELL}


@pytest.mark.parametrize(
    "finding", [Finding(word) for word in words("restart_ollama.yml") if word not in OF_GPU]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_look_on_the_host_found_is_said_in_the_playbooks_words(
    kind: RecoveryKind, finding: Finding
) -> None:
    node = of(kind)
    seen = {"gpu_mesh_look": {"stdout": "gpu-mesh: at work"}}
    said = rendered(words("restart_ollama.yml")[finding], node, gpu_mesh_though_it_answers=False, **seen)
    effect = Effect.HANGS  # what was found is said until something was done
    assert restart(node, look=finding, restart=effect).said == said


@pytest.mark.parametrize("finding", OF_GPU)
def test_what_a_look_found_wrong_with_a_gpu_is_said_in_the_playbooks_words(finding: Finding) -> None:
    cause = Cause.GPU_VRAM_HELD if finding is Finding.GPU_WELL else Cause.TIMEOUT
    shows = Scenario.OK if finding is Finding.GPU_WELL else Scenario.HANG
    judged = gpu_restart.judge(NODE, None, fake_gpu.look(OF_GPU[finding], NOW), cause)
    said = rendered(words("restart_ollama.yml")[finding], NODE, gpu_mesh_gpu={"said": judged.words})
    report = restart(cause=cause, shows=shows, gpu=OF_GPU[finding])
    assert (report.said, report.finding, report.done) == (said, finding, False)


def test_that_an_ollama_answers_which_is_restarted_all_the_same_is_said_in_the_playbooks_words() -> None:
    said = rendered(words("restart_ollama.yml")["answers_on_its_host"], NODE, gpu_mesh_though_it_answers=True)
    hung = restart(cause=Cause.RUNNER_HUNG, look=Finding.ANSWERS, restart=Effect.HANGS)
    assert hung.said == said


@pytest.mark.parametrize(
    ("word", "simulated"),
    [
        ("port_taken", rebuild(look=Finding.PORT_TAKEN)),
        ("port_is_ours", rebuild(cause=Cause.FORBIDDEN)),
        ("port_was_silent", rebuild(rebuild=Effect.HANGS)),
        ("port_was_listening", rebuild(cause=Cause.TIMEOUT, shows=Scenario.HANG, rebuild=Effect.HANGS)),
    ],
)
def test_what_a_look_at_the_port_found_is_said_in_the_playbooks_words(
    word: str, simulated: PlaybookResult
) -> None:
    said = rendered(words("rebuild_tunnel.yml")[word], NODE, gpu_mesh_stranger="another")
    assert (simulated.finding, simulated.said) == (Finding(word), said)


@pytest.mark.parametrize("finding", [Finding.GPU_AT_FAULT, Finding.GPU_WELL, Finding.GPU_UNCLEAR])
@pytest.mark.parametrize("in_the_way", [None, Finding.AT_WORK, Finding.REBOOT_REFUSED])
def test_what_a_reboot_found_is_said_in_the_playbooks_words(
    finding: Finding, in_the_way: Finding | None
) -> None:
    gpu = fake_gpu.look(OF_GPU[finding], NOW)
    judged = gpu_repair.judge(Action.REBOOT_HOST, NODE, None, gpu, Cause.TIMEOUT)
    expected = in_the_way if in_the_way and finding is Finding.GPU_AT_FAULT else finding
    why = {"gpu_mesh_why": fake_recovery.REFUSED, "gpu_mesh_look": {"stdout": "gpu-mesh: at work"}}
    said = rendered(words("reboot_host.yml")[expected], NODE, gpu_mesh_gpu={"said": judged.words}, **why)
    facts = {"shows": Scenario.HANG, "gpu": OF_GPU[finding], "look": in_the_way}
    report = simulated(NODE, Action.REBOOT_HOST, Cause.TIMEOUT, **facts)
    assert (report.said, report.finding) == (said, expected)


@pytest.mark.parametrize(
    ("action", "gpu", "cause"),
    [
        (Action.RELOAD_GPU_MODULE, Gpu.UVM_MISSING, Cause.CPU_FALLBACK),
        (Action.RESET_GPU, Gpu.RESET_NEEDED, Cause.HTTP_ERROR),
    ],
)
def test_a_reload_and_a_reset_are_told_in_the_playbooks_words(action: Action, gpu: Gpu, cause: Cause) -> None:
    said = words(f"{action}.yml")
    judged = gpu_repair.judge(action, NODE, None, fake_gpu.look(gpu, NOW), cause)
    why = {"gpu_mesh_why": fake_recovery.REFUSED, "gpu_mesh_look": {"stdout": "gpu-mesh: at work"}}
    for finding in (Finding.AT_WORK, Finding.REPAIR_REFUSED):
        declined = simulated(NODE, action, cause, shows=Scenario.HTTP_500, gpu=gpu, look=finding)
        expected = rendered(said[finding], NODE, gpu_mesh_gpu={"said": judged.words}, **why)
        assert (declined.said, declined.finding) == (expected, finding)
    (variables,) = found("vars", document(f"{action}.yml"))
    went = simulated(NODE, action, cause, shows=Scenario.HTTP_500, gpu=gpu)
    ended = f"{variables['gpu_mesh_has_done']}, and Ollama answers on its own host"
    assert (went.said, went.done) == (f"{judged.words}; {ended}", True)


def test_the_simulator_has_words_for_whatever_the_playbooks_find() -> None:
    acts = (action for action in Action if action not in (Action.OWN_PLAYBOOK, Action.NONE))
    named = {finding for action in acts for finding in words(f"{action}.yml")}
    assert named | {"leased", "cannot_lease"} | {"", "host_down", "no_ssh", "no_access"} == {*Finding}


def did(node: Node, action: Action) -> str:
    """Return what the task file that acts says it did."""
    if action is Action.REBUILD_TUNNEL:
        own = node.tunnel and node.tunnel.recovery_command
        tasks = document(f"tasks/tunnel_{'command' if own else 'unit'}.yml")
    else:
        tasks = document(f"tasks/restart_{node.recovery.replace('-', '_')}.yml")
    (said,) = found("gpu_mesh_did", tasks) + found("gpu_mesh_what", tasks)
    return rendered(said, node)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_that_went_through_is_told_in_the_playbooks_words(kind: RecoveryKind) -> None:
    node = of(kind)
    (said,) = found("gpu_mesh_said", document("restart_ollama.yml"))
    asked = {"gpu_mesh_did": did(node, Action.RESTART_OLLAMA), "gpu_mesh_known": "", "gpu_mesh_left": ""}
    assert restart(node).said == rendered(said, node, **asked)


@pytest.mark.parametrize("own_command", ["", "true"])
@pytest.mark.parametrize("shows", [Scenario.REFUSED, Scenario.HANG])
def test_a_rebuild_that_went_through_is_told_in_the_playbooks_words(
    own_command: str, shows: Scenario
) -> None:
    node = of(RecoveryKind.SYSTEMD, own_command)
    _, said = found("gpu_mesh_said", document("rebuild_tunnel.yml"))
    seen = {"gpu_mesh_did": did(node, Action.REBUILD_TUNNEL), "gpu_mesh_listened": shows is Scenario.HANG}
    assert rebuild(node, shows=shows).said == rendered(said, node, **seen)


IN_VAIN = re.compile(r'"(gpu-mesh: failed [^"$]* but nothing answers)"')
"""What the shell says of a command that ended well and helped nothing."""


def failed(file: str, node: Node, **variables: Any) -> str:
    """Return what the task file says when what it waits for does not come back."""
    (line,) = IN_VAIN.findall((PLAYBOOKS / "files/gpu_mesh.sh").read_text(encoding="utf-8"))
    (message,) = found("fail_msg", document(f"tasks/{file}.yml"))
    return rendered(message, node, gpu_mesh_ran={"stdout": line}, gpu_mesh_left="", **variables)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_that_failed_is_told_in_the_playbooks_words(kind: RecoveryKind) -> None:
    node = of(kind)
    file = "restart_command" if kind is RecoveryKind.COMMAND else "await_ollama"
    expected = failed(file, node, gpu_mesh_what=did(node, Action.RESTART_OLLAMA))
    assert restart(node, restart=Effect.FAILS).reason == expected


@pytest.mark.parametrize("own_command", ["", "true"])
def test_a_rebuild_that_failed_is_told_in_the_playbooks_words(own_command: str) -> None:
    node = of(RecoveryKind.SYSTEMD, own_command)
    expected = failed("tunnel_command" if own_command else "tunnel_unit", node)
    assert rebuild(node, rebuild=Effect.FAILS).reason == expected


@pytest.mark.parametrize(
    ("file", "call", "node", "action"),
    [
        ("await_ollama", r"await (\d+) any_ollama_answers", NODE, Action.RESTART_OLLAMA),
        (
            "restart_command",
            r"run_detached \{\{.*?\}\} (\d+) ",
            of(RecoveryKind.COMMAND),
            Action.RESTART_OLLAMA,
        ),
        ("tunnel_unit", r"await (\d+) port_listens", NODE, Action.REBUILD_TUNNEL),
        (
            "tunnel_command",
            r"run_detached \{\{.*?\}\} (\d+) ",
            of(RecoveryKind.SYSTEMD, "true"),
            Action.REBUILD_TUNNEL,
        ),
    ],
)
def test_a_repair_that_fails_waits_as_long_as_its_playbook(
    file: str, call: str, node: Node, action: Action
) -> None:
    (seconds,) = re.findall(call, (PLAYBOOKS / f"tasks/{file}.yml").read_text(encoding="utf-8"))
    assert fake_recovery.awaited(node, action) == float(seconds)


@pytest.mark.parametrize(("act", "doing"), [(restart, "restart"), (rebuild, "rebuild")])
def test_a_lease_that_another_monitor_has_is_told_in_the_words_of_the_shell(act: Any, doing: str) -> None:
    (play,) = document(f"{'restart_ollama' if act is restart else 'rebuild_tunnel'}.yml")
    assert play["vars"]["gpu_mesh_doing"] == doing
    until = NOW + fake_recovery.LEASE
    fields = (
        f"holder={fake_recovery.OTHER_MONITOR} since={NOW:.0f} ends={until:.0f} doing={doing} phase=acting"
    )
    script = f"{(PLAYBOOKS / 'files/lease.sh').read_text(encoding='utf-8')}\n{fields}\nin_words monitor-1"
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert act(look=Finding.LEASED).said == said.strip()


def test_the_other_monitor_holds_its_lease_as_long_as_this_one_would() -> None:
    assert Mesh(()).settings.recovery_timeout + HOLD_MARGIN == fake_recovery.LEASE


@pytest.mark.parametrize("act", [restart, rebuild])
def test_a_lease_that_cannot_be_taken_is_told_in_the_playbooks_words(act: Any) -> None:
    (why,) = found("gpu_mesh_why", document("tasks/no_lease.yml"))
    refused = [fake_recovery.UNSAFE]
    assert act(look=Finding.CANNOT_LEASE).said == rendered(
        why, NODE, gpu_mesh_held=[], gpu_mesh_refused=refused
    )
    folder, _, what = fake_recovery.UNSAFE.partition(" of mallory ")
    shell = (PLAYBOOKS / "files/lease.sh").read_text(encoding="utf-8")
    assert f'echo "$1 of $(owner "$1") {what}"' in shell
    assert folder in shell


def test_between_probes_the_simulator_pauses_as_recovery_does() -> None:
    assert simulator.BETWEEN_PROBES is repair.BETWEEN_PROBES is values.BETWEEN_PROBES
