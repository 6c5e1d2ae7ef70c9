"""Several nodes that need the same are repaired in one run of Ansible, each as if it were alone."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from checkout import PROGRAMS
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node, Tunnel
from gpu_mesh.domain.recovery import Finding, Outcome
from gpu_mesh.hosts import playbook
from gpu_mesh.recovery.worker import recover
from gpu_mesh.standin.server import free_port
from recover_world import World
from sites import end_all_with, eventually, processes_with

FUNCTIONS = "\n".join(
    (playbook.find(Action.RESTART_OLLAMA).parent / "files" / name).read_text()
    for name in ("gpu_mesh.sh", "lease.sh")
)


class Hall(World):
    """Nodes on loopback addresses of their own: for the checker each is a machine. They are up or not."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self.port, self.up = port, folder / "up"
        self.up.mkdir()
        self.settings = replace(self.settings, recovery_timeout=100.0)
        self.connections: dict[str, dict[str, Any]] = {}

    def is_served(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def address(self, number: int) -> str:
        return f"127.0.7.{number}"

    def nodes(self, count: int, **commands: str) -> tuple[Node, ...]:
        """Return so many failing nodes, written into the inventory; a command is by default what helps."""
        nodes = []
        for number in range(1, count + 1):
            key, helps = f"gpu{number}", f"touch {self.up}/{self.address(number)}"
            made = self.node(1, commands.get(key, "HELPS").replace("HELPS", helps), key)
            there = f"http://{self.address(number)}:{self.port}"
            nodes.append(replace(made, on_monitor=False, url=there))
            self.connections.setdefault(key, {"ansible_connection": "local"})
            self.failing(key)
        inventory = {"mesh_nodes": {"hosts": self.connections}}
        (self.folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
        return tuple(nodes)

    def statuses(self) -> dict[str, Status]:
        return {key: known.status for key, known in self.statefile.load().nodes.items()}

    def claimed(self) -> set[str]:
        return {key for key, known in self.statefile.load().nodes.items() if known.recovery.claim}

    def outcomes(self) -> dict[str, list[Outcome]]:
        return {
            key: [each.outcome for each in known.recovery.attempts]
            for key, known in self.statefile.load().nodes.items()
        }


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path, free_port())
    ollama = subprocess.Popen([sys.executable, PROGRAMS / "serve_where_up.py", made.up, str(made.port)])
    assert eventually(made.is_served)
    yield made
    made.end()
    ollama.kill()
    ollama.wait()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts of each run of Ansible, as it was begun."""
    seen: list[str] = []
    start = playbook.start

    def noted(folder: Path, path: Path, limit: str, *rest: Any, **options: Any) -> Any:
        seen.append(limit)
        return start(folder, path, limit, *rest, **options)

    monkeypatch.setattr(playbook, "start", noted)
    return seen


def process(hall: Hall, *nodes: Node) -> "subprocess.Popen[bytes]":
    mesh = msgspec.json.encode(Mesh(nodes, hall.settings)).decode()
    arguments = [str(hall.folder / "inventory.yml"), str(hall.paths.state), mesh]
    return subprocess.Popen(
        [sys.executable, PROGRAMS / "recover.py", *arguments],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(hall.folder)},  # a killed process cannot tidy up
    )


def hangs_over_ssh(hall: Hall, sshd: Any, key: str, begun: Path) -> None:
    """Let every task on the node's host hang, for longer than any test."""
    (sshd.folder / "authorized").write_text(
        f'command="touch {begun}; exec sleep 300" ' + (sshd.folder / "user.pub").read_text()
    )
    hall.connections[key] = sshd.variables


@pytest.mark.usefixtures("no_runners")
def test_each_node_of_a_run_has_its_own_outcome_and_is_told_of(
    hall: Hall, runs: list[str], leases: Path
) -> None:
    hall.connections["gpu3"] = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    lease = f'{FUNCTIONS}\ntake_lease gpu4 100 restart "monitor-2 x"'
    subprocess.run(["/bin/sh", "-c", lease], check=True, stdout=subprocess.DEVNULL)
    nodes = hall.nodes(
        6,
        gpu2="echo '{{ braces }} {% x %}' >said; echo no such model store; exit 7".replace(
            "said", str(hall.folder / "said")
        ),
        gpu5="true",  # ends well, and does not help
    )
    assert recover(hall.site(*nodes)) == 0
    assert runs == ["gpu1,gpu2,gpu3,gpu4,gpu5,gpu6"]
    assert sorted(hall.runs()) == ["gpu1", "gpu2", "gpu5", "gpu6"]
    assert hall.outcomes() == {
        "gpu1": [Outcome.RECOVERED],
        "gpu2": [Outcome.FAILED],
        "gpu3": [Outcome.DECLINED],
        "gpu4": [Outcome.DECLINED],
        "gpu5": [Outcome.FAILED],
        "gpu6": [Outcome.RECOVERED],
    }
    known = hall.statefile.load().nodes
    assert {key: each.recovery.attempts[0].finding for key, each in known.items()} == {
        **dict.fromkeys(known, Finding.SILENT),
        "gpu3": Finding.NO_SSH,
        "gpu4": Finding.LEASED,
    }
    assert hall.claimed() == set()
    assert "the command ended with status 7: no such model store" in known["gpu2"].recovery.attempts[0].words
    assert known["gpu4"].recovery.attempts[0].words.startswith("monitor-2 restarts it since ")
    assert (hall.folder / "said").read_text() == "{{ braces }} {% x %}\n", "braces are the command's own"
    assert {alert.node for alert in hall.alerts()} == {"gpu1", "gpu2", "gpu3", "gpu5", "gpu6"}


def test_one_that_hangs_delays_no_other_and_a_stop_ends_it_with_all_it_has_left(
    hall: Hall, runs: list[str], sshd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_OWNS", mark := uuid.uuid4().hex)  # sshd was started before
    hall.settings = replace(hall.settings, recovery_concurrency=2, recovery_timeout=3600.0)
    hangs_over_ssh(hall, sshd, "gpu2", begun := tmp_path / "begun")
    site = hall.site(*hall.nodes(5))
    healthy = dict.fromkeys(("gpu1", "gpu3", "gpu4", "gpu5"), Status.HEALTHY)
    try:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(recover, site)
            assert eventually(lambda: hall.statuses().items() >= healthy.items(), 100)
            assert begun.exists()
            assert hall.claimed() == {"gpu2"}, "what came of the others is recorded, and it is still at work"
            site.stopping.set()
            assert done.result(timeout=60) == 0
        assert runs == ["gpu1,gpu2,gpu3,gpu4,gpu5"]
        assert (hall.claimed(), hall.outcomes()["gpu2"]) == (set(), []), "it was not touched yet"
        assert processes_with(mark) == []
        assert list(Path(tmp_path).glob("gm-*")) == []
    finally:
        end_all_with(mark)


def test_each_node_of_a_run_has_a_deadline_of_its_own(hall: Hall, sshd: Any, tmp_path: Path) -> None:
    hall.settings = replace(hall.settings, recovery_timeout=20.0)
    hangs_over_ssh(hall, sshd, "gpu1", tmp_path / "begun")
    gate = tmp_path / "gate"
    nodes = hall.nodes(2, gpu2=f"while [ ! -e {gate} ]; do sleep 0.2; done")
    assert recover(hall.site(*nodes)) == 0
    gate.touch()
    assert hall.outcomes() == {"gpu1": [Outcome.DECLINED], "gpu2": [Outcome.FAILED]}
    for node in nodes:
        assert hall.known(node.key).recovery.attempts[0].words == (
            "the playbook was ended: it took longer than 20 s"
        )


def test_killed_in_the_middle_only_what_had_begun_counts_and_nothing_is_repeated(hall: Hall) -> None:
    gate = hall.folder / "gate"
    hall.settings = replace(hall.settings, recovery_concurrency=2)
    waits = f"while [ ! -e {gate} ]; do sleep 0.2; done; HELPS"
    nodes = hall.nodes(4, gpu1=waits, gpu2=waits)
    before = hall.statefile.load().nodes
    killed = process(hall, *nodes)
    assert eventually(lambda: sorted(hall.runs()) == ["gpu1", "gpu2"], 100)
    killed.kill()
    killed.wait(10)
    known = hall.statefile.load().nodes
    assert hall.claimed() == {"gpu1", "gpu2"}
    assert [known[key] for key in ("gpu3", "gpu4")] == [before[key] for key in ("gpu3", "gpu4")]

    assert process(hall, *nodes).wait(100) == 0
    assert sorted(hall.runs()) == ["gpu1", "gpu2", "gpu3", "gpu4"]
    assert hall.outcomes() == {
        "gpu1": [],
        "gpu2": [],
        "gpu3": [Outcome.RECOVERED],
        "gpu4": [Outcome.RECOVERED],
    }
    claim = hall.known("gpu1").recovery.claim
    assert claim is not None
    recover(hall.site(*nodes, ahead=claim.until - time.time() + 10))
    assert sorted(hall.runs()) == ["gpu1", "gpu2", "gpu3", "gpu4"], "the usual wait follows"
    assert hall.outcomes()["gpu1"] == hall.outcomes()["gpu2"] == [Outcome.LOST]
    gate.touch()


def test_a_node_that_needs_nothing_any_more_when_its_turn_comes_is_left_alone(
    hall: Hall, runs: list[str]
) -> None:
    hall.settings = replace(hall.settings, recovery_concurrency=1)
    all_up = f"touch {hall.up}/{hall.address(1)} {hall.up}/{hall.address(2)}"
    nodes = hall.nodes(3, gpu1=all_up, gpu3="HELPS")
    assert recover(hall.site(*nodes)) == 0
    assert runs == ["gpu1,gpu2,gpu3"]
    assert hall.runs() == ["gpu1", "gpu3"]
    assert hall.statuses() == dict.fromkeys(("gpu1", "gpu2", "gpu3"), Status.HEALTHY)
    assert hall.outcomes()["gpu2"] == []


def test_a_node_that_may_not_be_repaired_any_more_when_its_turn_comes_is_not_claimed(
    hall: Hall, runs: list[str]
) -> None:
    hall.settings = replace(hall.settings, recovery_concurrency=1)
    gate = hall.folder / "gate"
    nodes = hall.nodes(2, gpu1=f"while [ ! -e {gate} ]; do sleep 0.2; done; HELPS")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(recover, hall.site(*nodes))
        assert eventually(hall.runs, 100)
        hall.failing("gpu2", status=Status.HEALTHY, failures=0, incident_since=0.0, cause=None)
        gate.touch()
        assert done.result(timeout=100) == 0
    assert (runs, hall.runs()) == (["gpu1,gpu2"], ["gpu1"])
    assert hall.logged().count("recovery_claimed") == 1


def test_nodes_that_serve_again_by_themselves_start_no_ansible(hall: Hall, runs: list[str]) -> None:
    nodes = hall.nodes(3)
    for number in (1, 2, 3):
        (hall.up / hall.address(number)).touch()
    assert recover(hall.site(*nodes)) == 0
    assert (runs, hall.runs()) == ([], [])
    assert set(hall.statuses().values()) == {Status.HEALTHY}


def test_tunnels_are_rebuilt_together_and_each_port_is_its_own(hall: Hall, runs: list[str]) -> None:
    nodes = []
    for number, node in enumerate(hall.nodes(2), 1):
        local = free_port()
        tunnel = Tunnel(f"pod{number}", local, recovery_command=hall.starting(local))
        nodes.append(replace(node, url=f"http://127.0.0.1:{local}", tunnel=tunnel))
        hall.failing(node.key, cause=Cause.TUNNEL_DOWN, detail="Tunnel down")
    assert recover(hall.site(*nodes)) == 0
    assert runs == ["gpu1,gpu2"]
    assert hall.statuses() == dict.fromkeys(("gpu1", "gpu2"), Status.HEALTHY)
    assert hall.outcomes() == {"gpu1": [Outcome.RECOVERED], "gpu2": [Outcome.RECOVERED]}


def test_an_operators_own_playbook_in_the_place_of_one_sees_one_host_at_a_time(
    hall: Hall, runs: list[str]
) -> None:
    task = {"ansible.builtin.assert": {"that": "ansible_play_hosts_all | length == 1"}}
    report = {"ansible.builtin.set_stats": {"data": {"gpu_mesh_finding": "silent_on_its_host"}}}
    own = [{"hosts": "mesh_nodes", "gather_facts": False, "tasks": [task, report]}]
    (hall.folder / "restart_ollama.yml").write_text(yaml.safe_dump(own))
    hall.settings = replace(hall.settings, recovery_playbooks=str(hall.folder))
    assert recover(hall.site(*hall.nodes(2))) == 0
    assert sorted(runs) == ["gpu1", "gpu2"]
    assert hall.outcomes() == {"gpu1": [Outcome.DECLINED], "gpu2": [Outcome.DECLINED]}


def test_a_playbook_that_cannot_be_run_is_told_of_for_each_node(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = hall.nodes(2)
    (hall.folder / "inventory.yml").write_text("mesh_nodes: {hosts: [")
    assert recover(hall.site(*nodes)) == 0
    assert hall.runs() == []
    assert hall.outcomes() == {"gpu1": [Outcome.DECLINED], "gpu2": [Outcome.DECLINED]}
