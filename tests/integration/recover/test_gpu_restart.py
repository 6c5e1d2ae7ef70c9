"""The look of a recovery asks the GPU too, and what that shows decides: by the real ansible-runner."""

from pathlib import Path

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from factories import served_here
from gpu_host import GpuHost
from gpu_mesh.diagnosis import gpu_history
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import OnBus, Smi
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import playbook
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning.addresses import of_ollama


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuHost:
    """A host with made-up files and programs, which the playbooks find."""
    made = GpuHost(tmp_path / "gpu")
    made.programs.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("GPU_MESH_GPU_ROOT", str(made.root))
    monkeypatch.setenv("PATH", str(made.programs), prepend=":")
    return made


def restart(
    port: int, here: tuple[str, ...], tmp_path: Path, cause: Cause, known: str = ""
) -> tuple[PlaybookResult, bool]:
    """Return what came of the recovery, and whether Ollama was restarted."""
    done = tmp_path / "restarted"
    node = served_here(port, recovery_command=f"touch {done}; exit 1")  # or the playbook would wait
    extra = {"gpu_mesh_addresses": of_ollama(node, Mesh((node,))), "gpu_mesh_cause": cause.value}
    extra["gpu_mesh_gpu_known"] = known
    path = playbook.find(Action.RESTART_OLLAMA)
    report = playbook.run(path, node, replace(Settings(), recovery_timeout=60.0), here, extra=extra)
    return report, done.exists()


@pytest.mark.usefixtures("no_runners")
def test_a_lost_card_rules_a_restart_out_and_is_named(
    host: GpuHost, here: tuple[str, ...], closed_port: int, tmp_path: Path
) -> None:
    host.nvidia("lost:0", cards=1)
    host.device("0000:01:00.0", "nvidia", config=b"\xff\xff\xff\xff")
    report, restarted = restart(closed_port, here, tmp_path, Cause.REFUSED)
    assert not restarted
    assert (report.success, report.done, report.finding) == (True, False, Finding.GPU_AT_FAULT)
    assert report.said == "A GPU has fallen off the bus (0000:01:00.0); nothing was restarted"
    assert report.gpu is not None
    assert [(card.bus, card.on_bus) for card in report.gpu.cards] == [("0000:01:00.0", OnBus.LOST)]


@pytest.mark.usefixtures("no_runners")
def test_a_card_that_is_well_lets_the_restart_go_on_and_its_facts_are_kept(
    host: GpuHost, here: tuple[str, ...], closed_port: int, tmp_path: Path
) -> None:
    host.nvidia("one", "pci.bus_id=00000000:01:00.0")
    report, restarted = restart(closed_port, here, tmp_path, Cause.REFUSED)
    assert restarted, report
    assert report.finding is Finding.SILENT
    assert report.gpu is not None
    assert report.gpu.smi is Smi.OK
    assert [card.total for card in report.gpu.cards] == [8192 * 2**20]


@pytest.mark.usefixtures("no_runners")
def test_what_earlier_looks_have_left_counts_too(
    host: GpuHost, here: tuple[str, ...], closed_port: int, tmp_path: Path
) -> None:
    host.nvidia()
    host.process(4711, "nvidia-smi", "D")
    first, restarted = restart(closed_port, here, tmp_path, Cause.REFUSED)
    assert (restarted, first.finding) == (False, Finding.GPU_UNCLEAR)
    assert first.gpu is not None
    earlier = replace(first.gpu, at=first.gpu.at - 60)
    known = msgspec.json.encode(gpu_history.remember(None, earlier, None)).decode()
    second, restarted = restart(closed_port, here, tmp_path, Cause.REFUSED, known)
    assert (restarted, second.finding) == (False, Finding.GPU_AT_FAULT)
    assert "nvidia-smi, process 4711, waits for it" in second.said


@pytest.mark.usefixtures("no_runners")
def test_what_cannot_be_judged_keeps_no_node_down(
    host: GpuHost, here: tuple[str, ...], closed_port: int, tmp_path: Path
) -> None:
    _, restarted = restart(closed_port, here, tmp_path, Cause.REFUSED, "nonsense")
    assert restarted


def test_many_hosts_are_looked_at_in_one_run_and_each_has_its_own_facts(
    host: GpuHost, tmp_path: Path
) -> None:
    host.nvidia("one", "pci.bus_id=00000000:01:00.0")
    local = {"ansible_connection": "local"}
    nodes = tuple(replace(served_here(1), key=key) for key in ("gpu1", "gpu2", "away", "a:b"))
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        yaml.safe_dump({"mesh_nodes": {"hosts": {"gpu1": local, "gpu2": local, "away": away}}})
    )
    looked = playbook.look_at_gpus([replace(node, on_monitor=False) for node in nodes], (str(inventory),))
    assert sorted(looked) == ["away", "gpu1", "gpu2"]
    for key in ("gpu1", "gpu2"):
        facts = looked[key].facts
        assert facts is not None
        assert facts.cards[0].name == "NVIDIA GeForce RTX 2080 SUPER"
    assert looked["away"].facts is None
    assert "Connection refused" in looked["away"].reason
