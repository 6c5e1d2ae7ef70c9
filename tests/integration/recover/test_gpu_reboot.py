"""The playbook that reboots a host, by the real ansible-runner; the host has no program of root's for it."""

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


def reboot(port: int, here: tuple[str, ...], **fields: object) -> PlaybookResult:
    node = replace(served_here(port), **{"on_monitor": False, "gpu_recovery": GpuRecovery.REBOOT, **fields})
    extra = {
        "gpu_mesh_addresses": of_ollama(node, Mesh((node,))),
        "gpu_mesh_cause": Cause.REFUSED.value,
        "gpu_mesh_leases": [node.key, "twin"],
        "gpu_mesh_gpu_known": msgspec.json.encode(NodeGpu(GpuFacts(boot="an earlier one"))).decode(),
    }
    path = playbook.find(Action.REBOOT_HOST)
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
