"""The playbooks that repair GPUs, by the real ansible-runner; the host has no program of root's for it."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from factories import served_here
from gpu_host import GpuHost
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import GpuFacts, NodeGpu
from gpu_mesh.domain.mesh import GpuRecovery, Mesh, Settings
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import playbook
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning.addresses import of_ollama
from gpu_mesh.standin.server import Standin
from marks import soak

LOST = "A GPU has fallen off the bus (0000:01:00.0)"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuHost:
    """A host with made-up files, whose leases are in a folder of the test."""
    made = GpuHost(tmp_path / "gpu")
    monkeypatch.setenv("GPU_MESH_GPU_ROOT", str(made.root))
    monkeypatch.setenv("GPU_MESH_LEASE_DIR", str(tmp_path / "leases"))
    monkeypatch.setenv("PATH", str(made.programs), prepend=":")
    return made


def reboot(
    port: int,
    here: tuple[str, ...],
    action: Action = Action.REBOOT_HOST,
    cause: Cause = Cause.REFUSED,
    **fields: object,
) -> PlaybookResult:
    node = replace(served_here(port), **{"on_monitor": False, "gpu_recovery": GpuRecovery.REBOOT, **fields})
    extra = {
        "gpu_mesh_addresses": of_ollama(node, Mesh((node,))),
        "gpu_mesh_cause": cause.value,
        "gpu_mesh_leases": [node.key, "twin"],
        "gpu_mesh_gpu_known": msgspec.json.encode(NodeGpu(GpuFacts(boot="an earlier one"))).decode(),
    }
    path = playbook.find(action)
    return playbook.run(path, node, replace(Settings(), recovery_timeout=60.0), here, extra=extra)


@pytest.mark.usefixtures("no_runners")
def test_a_host_without_roots_program_refuses_and_the_leases_of_all_its_nodes_were_taken(
    host: GpuHost, here: tuple[str, ...], closed_port: int, tmp_path: Path
) -> None:
    host.device("0000:01:00.0", "nvidia", config=b"\xff\xff\xff\xff")
    report = reboot(closed_port, here)
    assert (report.success, report.done, report.reason) == (True, False, "")
    assert report.finding is Finding.REBOOT_REFUSED
    why = "it has no /usr/local/lib/gpu-mesh/gpu-repair; site.yml installs it"
    assert report.said == f"{LOST}; its host refuses a reboot: {why}; nothing was rebooted"
    leases = {path.parent.name: path.read_text().split()[2:4] for path in tmp_path.glob("leases/*/lease")}
    assert leases == {"gpu1.1": ["reboot", "over"], "twin.1": ["reboot", "over"]}


@pytest.mark.usefixtures("no_runners")
@pytest.mark.parametrize(
    ("config", "allowed", "said"),
    [
        pytest.param(b"\xde\x10\x30\x23", GpuRecovery.REBOOT, "no longer shows", id="well again"),
        soak(b"\xff\xff\xff\xff", GpuRecovery.NONE, "is none, so its host is rebooted by people", name="no"),
    ],
)
def test_nothing_is_taken_where_the_look_shows_no_cause_or_it_is_not_allowed(
    host: GpuHost,
    here: tuple[str, ...],
    closed_port: int,
    tmp_path: Path,
    config: bytes,
    allowed: GpuRecovery,
    said: str,
) -> None:
    host.device("0000:01:00.0", "nvidia", config=config)
    report = reboot(closed_port, here, gpu_recovery=allowed)
    assert said in report.said + report.reason
    assert not report.done
    assert not (tmp_path / "leases").exists()


@pytest.mark.usefixtures("no_runners")
@pytest.mark.parametrize(
    ("action", "cause", "words"),
    [
        pytest.param(Action.RESET_GPU, Cause.REFUSED, "a reset", id="reset"),
        soak(Action.RELOAD_GPU_MODULE, Cause.CPU_FALLBACK, "a reload", name="reload"),
    ],
)
def test_a_reset_or_a_reload_that_its_host_refuses_is_told_and_nothing_was_done(
    host: GpuHost,
    here: tuple[str, ...],
    closed_port: int,
    tmp_path: Path,
    action: Action,
    cause: Cause,
    words: str,
) -> None:
    asks = "Reset" if action is Action.RESET_GPU else "None"
    host.nvidia("one", "pci.bus_id=00000000:01:00.0", f"gpu_recovery_action={asks}")
    (host.root / "sys/module/nvidia_uvm").rmdir()
    report = reboot(closed_port, here, action, cause, gpu_recovery=GpuRecovery.RESET)
    assert (report.success, report.done, report.finding) == (True, False, Finding.REPAIR_REFUSED)
    assert f"; its host refuses {words}: it has no /usr/local/lib/gpu-mesh/gpu-repair" in report.said
    leases = {path.parent.name: path.read_text().split()[2:4] for path in tmp_path.glob("leases/*/lease")}
    assert leases == {"gpu1.1": ["repair", "over"], "twin.1": ["repair", "over"]}


@pytest.mark.usefixtures("no_runners")
@pytest.mark.parametrize(
    ("says", "done", "told"),
    [
        pytest.param("done", True, "; reset its GPU, and Ollama answers on its own host", id="done"),
        pytest.param(
            "failed Ollama does not stop", False, "; the reset failed: Ollama does not stop", id="no"
        ),
    ],
)
def test_what_came_of_a_reset_is_told_and_the_leases_are_given_back(
    host: GpuHost,
    here: tuple[str, ...],
    standin: Callable[[], Standin],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    done: bool,
    told: str,
) -> None:
    host.nvidia("one", "pci.bus_id=00000000:01:00.0", "gpu_recovery_action=Reset")
    host.program("gpu-repair", f"echo \"$@\" >>{tmp_path}/asked; echo 'gpu-mesh: repair {says}'")
    host.program("sudo", 'shift; exec "$@"')  # for whoever runs this test without being root
    monkeypatch.setenv("GPU_MESH_GPU_REPAIR", str(host.programs / "gpu-repair"))
    report = reboot(standin().port, here, Action.RESET_GPU, gpu_recovery=GpuRecovery.RESET)
    assert (report.success, report.done) == (done, done)
    assert (report.said + report.reason).endswith(told)
    assert (tmp_path / "asked").read_text() == "reset gpu1\n"
    leases = {path.parent.name: path.read_text().split()[2:4] for path in tmp_path.glob("leases/*/lease")}
    assert leases == {"gpu1.1": ["repair", "over"], "twin.1": ["repair", "over"]}
