"""``gpu-mesh look`` on a made-up host, with the real ansible-runner."""

import os
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from gpu_host import FILES, GpuHost
from gpu_mesh.domain.gpu import Smi
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.hosts import gpu_look
from gpu_mesh.recovery import gpu_here
from sites import Site, eventually


@pytest.fixture
def host(tmp_path: Path) -> GpuHost:
    made = GpuHost(tmp_path / "gpu")
    made.nvidia("one", "pci.bus_id=00000000:01:00.0", "app=4242 3000")
    return made


@pytest.fixture
def mesh(site: Site, host: GpuHost, standin) -> Site:
    """A checked monitor whose node is on that host."""
    path = f"{host.programs}{os.pathsep}{os.environ['PATH']}"
    site.environment |= {"GPU_MESH_GPU_ROOT": str(host.root), "PATH": path}
    site.describe(
        {
            "box": {
                "url": f"http://127.0.0.1:{standin().port}",
                "expects_gpu": True,
                "recovery": "command",
                "recovery_command": "true",
            }
        }
    )
    site.check()
    return site


def test_it_prints_the_cards_and_who_holds_their_memory(mesh: Site) -> None:
    assert mesh.ok("look").splitlines() == [
        "box: driver 595.71.05",
        "  GPU 0, 0000:01:00.0, NVIDIA GeForce RTX 2080 SUPER, 0.2 GiB of 8.0 GiB, 0 %, 40 °C, 39 W",
        "  process 4242 holds 2.9 GiB",
    ]


def test_a_host_is_shown_before_the_first_check_and_why_another_is_not_looked_at(mesh: Site, standin) -> None:
    mesh.state_dir = mesh.folder / "new"
    assert mesh.ok("look").startswith("box: driver 595.71.05\n")
    mesh.describe({"box": {"url": f"http://127.0.0.1:{standin().port}", "recovery": "none"}})
    done = mesh.run("look", "box")
    assert done.returncode == 1
    assert done.stdout == (
        "box: not looked at: mesh_node_recovery is none, so the monitor has no login there\n"
    )


def test_a_name_that_the_inventory_does_not_have_is_refused(mesh: Site) -> None:
    done = mesh.run("look", "elsewhere")
    assert done.returncode == 2
    assert "there is no node 'elsewhere'" in done.stderr


def test_the_timers_look_leaves_its_facts_in_the_state_and_comes_once_in_an_interval(
    mesh: Site, host: GpuHost
) -> None:
    assert mesh.ok("look", "--due") == ""
    first = mesh.state().nodes["box"].gpu
    assert first is not None
    assert first.facts.smi is Smi.OK
    host.write("dev/nvidiactl", "")
    mesh.ok("look", "--due")
    assert mesh.state().nodes["box"].gpu == first


def test_a_lost_card_makes_a_node_that_serves_degraded(mesh: Site, host: GpuHost) -> None:
    host.device("0000:01:00.0", "nvidia", config=b"\xff\xff\xff\xff")
    assert "A GPU has fallen off the bus (GPU 0, 0000:01:00.0, " in mesh.ok("look")
    mesh.check(3)
    node = mesh.status()["nodes"][0]
    assert (node["status"], node["cause"]) == ("degraded", "gpu_lost")
    assert [(card["bus"], card["lost"]) for card in node["gpu"]["cards"]] == [("0000:01:00.0", True)]


def test_what_sees_no_devices_asks_the_unit_that_does(
    mesh: Site, host: GpuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = replace(mesh.paths, volatile=mesh.folder / "run", for_recovery=mesh.folder / "recover")
    paths.runtime.mkdir()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(gpu_here.ask(paths, gpu_here.BEFORE_A_RESTART)))
    asking.start()
    assert eventually(paths.look_here_wanted.exists)
    monkeypatch.setenv("GPU_MESH_GPU_ROOT", str(host.root))
    monkeypatch.setenv("PATH", mesh.environment["PATH"])
    gpu_here.look(paths, Mesh(()), FILES)
    asking.join(30)
    facts = gpu_look.read(answers[0], 0.0)
    assert facts is not None
    assert [card.index for card in facts.cards] == [0]
    assert not paths.look_here_wanted.exists()


def test_nobody_waits_for_a_unit_that_does_not_answer(mesh: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_here, "_GRACE", 0.1)
    assert gpu_here.ask(replace(mesh.paths, volatile=mesh.folder / "nowhere"), 0) == ""
