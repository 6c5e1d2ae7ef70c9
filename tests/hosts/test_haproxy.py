"""site.yml puts HAProxy in front of the nodes, as a unit of its own: what runs is never cut off."""

import json
import shutil
from collections.abc import Iterator

import machines
import provision
import pytest
from test_system_scope import EXPOSURE

from checkout import PROGRAMS

URL = "http://127.0.0.1:11435"
STREAM = f"python3 /opt/stream.py {URL} a"


class Mesh:
    """A monitor with HAProxy, a plain node, and one behind a tunnel."""

    def __init__(self, site: machines.Site, operator: provision.Operator) -> None:
        self.operator = operator
        (self.monitor,) = site.boot("front", packages=("haproxy",))
        self.plain, self.rented = site.boot("behind1", "behind2")

    @property
    def settings(self) -> dict[str, object]:
        """The monitor's variables, to be changed in place."""
        hosts = self.operator.inventory["mesh_monitors"]["hosts"]
        return hosts["front"]  # type: ignore[no-any-return]

    def states(self, backend: str = "gpu-mesh:any") -> dict[str, str]:
        """Return what HAProxy says of each node."""
        ask = (
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/gpu-mesh-haproxy/stats.sock');"
            " s.sendall(b'show stat\\n'); print(s.makefile().read())"
        )
        rows = [line.split(",") for line in self.monitor.out(f'python3 -c "{ask}"').splitlines()]
        return {row[1]: row[17] for row in rows if row[0] == backend and row[1] != "BACKEND"}

    def await_state(self, node: str, state: str, backend: str = "gpu-mesh:any") -> None:
        machines.await_that(
            lambda: self.states(backend).get(node, "").split(" ")[0] == state, 30, f"{node} is {state}"
        )

    def ask(self, count: int = 10) -> list[int]:
        """Ask for a text so many times; return the statuses of the answers."""
        body = json.dumps({"model": "a", "prompt": "hello", "stream": False})
        ask = f"urllib.request.urlopen('{URL}/api/generate', b'{body}').status"
        program = f"import urllib.request\nprint(*({ask} for _ in range({count})))"
        return [int(word) for word in self.monitor.ssh(f"python3 - <<'E'\n{program}\nE\n").stdout.split()]

    def begin_stream(self, pieces: int) -> None:
        self.monitor.ssh(f"rm -f /tmp/streamed; nohup {STREAM} {pieces} >/tmp/streamed 2>&1 &")
        machines.await_that(lambda: "1" in self.at_work(), 10, "the stream has begun")

    def at_work(self) -> str:
        """Return how many connections there are to HAProxy's port."""
        return self.monitor.out("ss -Htn state established '( dport = :11435 )' | grep -c .; true")

    def end_of_stream(self) -> str:
        machines.await_that(lambda: self.monitor.out("cat /tmp/streamed"), 60, "the stream has ended")
        return self.monitor.out("cat /tmp/streamed")


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "haproxy")
    made = Mesh(site, operator)
    provision.install_ollama(made.plain, "0.0.0.0")
    provision.install_ollama(made.rented, "127.0.0.1")
    shutil.copy(PROGRAMS / "stream.py", made.monitor.root / "opt/stream.py")
    operator.inventory = {
        "all": {"vars": {"ansible_user": "admin"}},
        "mesh_monitors": {
            "hosts": {
                "front": {
                    "ansible_host": made.monitor.address,
                    "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                    "mesh_monitor_check_interval": 2,
                    "mesh_monitor_haproxy": True,
                }
            }
        },
        "mesh_nodes": {
            "hosts": {
                "behind1": {"ansible_host": made.plain.address},
                "behind2": {
                    "ansible_host": made.rented.address,
                    "mesh_tunnel_host": made.rented.address,
                    "mesh_tunnel_local_port": 8080,
                },
            }
        },
    }
    yield made
    for machine in (made.monitor, made.plain, made.rented):
        machine.halt()


def test_without_haproxy_the_package_is_named_and_nothing_is_changed(mesh: Mesh) -> None:
    mesh.monitor.ssh("mv /usr/sbin/haproxy /usr/sbin/haproxy.away")
    play = mesh.operator.play("site.yml", check=False)
    mesh.monitor.ssh("mv /usr/sbin/haproxy.away /usr/sbin/haproxy")
    assert play.code != 0
    assert "haproxy is missing; on Debian and Ubuntu, apt install haproxy" in play.said
    assert mesh.monitor.out("ls -d /etc/gpu-mesh; true") == ""


@pytest.fixture(scope="module")
def front(mesh: Mesh, measured: list[str]) -> Mesh:
    """The mesh after the first site.yml."""
    play = mesh.operator.play("site.yml", "--diff")
    measured.append(f"site.yml with HAProxy: {play.seconds:.0f} s")
    assert play.faults == []
    for node in ("behind1", "behind2"):
        mesh.await_state(node, "UP")
    return mesh


def test_requests_go_to_the_nodes_through_the_tunnel_too(front: Mesh) -> None:
    machines.await_that(lambda: "behind2" in provision.status(front.monitor), 60, "the nodes were checked")
    assert front.ask(20) == [200] * 20
    for machine in (front.plain, front.rented):
        assert machine.out("systemctl is-active ollama") == "active"


def test_a_second_run_changes_nothing(front: Mesh) -> None:
    play = front.operator.play("site.yml", "--diff")
    assert set(play.recap("changed").values()) == {0}, [
        line for line in play.printed.splitlines() if line.startswith(("TASK", "changed"))
    ]


def test_a_drained_node_goes_on_with_its_stream_and_gets_nothing_new(front: Mesh) -> None:
    front.monitor.ssh("gpu-mesh drain behind2 --for 1h --reason card")
    front.monitor.ssh("systemctl start gpu-mesh-publish.service")
    front.await_state("behind2", "DRAIN")
    assert front.ask() == [200] * 10
    front.begin_stream(150)
    front.monitor.ssh("gpu-mesh undrain behind2; gpu-mesh drain behind1 --for 1h --reason card")
    front.monitor.ssh("systemctl start gpu-mesh-publish.service")
    front.await_state("behind1", "DRAIN")
    front.await_state("behind2", "UP")
    assert front.ask() == [200] * 10
    assert front.end_of_stream() == "150 done"
    front.monitor.ssh("gpu-mesh undrain behind1")


def test_new_settings_and_a_new_program_cut_nothing_off(front: Mesh) -> None:
    front.settings["mesh_monitor_haproxy_models"] = {"a": 11501, "c": 0}
    front.begin_stream(600)
    play = front.operator.play("site.yml")
    assert play.faults == []
    front.await_state("behind1", "UP", "gpu-mesh:model:a:latest")
    front.await_state("behind1", "DRAIN", "gpu-mesh:model:c:latest")  # no node has it
    assert front.end_of_stream() == "600 done"


CHEAP_WALLS = 6.0
"""What `systemd-analyze security` may say of the agent, which starts for each question: its unit has only the
walls that cost nothing (the others took 47 ms of CPU a start). It has neither network nor rights."""


def test_the_units_are_sound_have_hardly_any_rights_and_do_not_fill_the_journal(
    front: Mesh, measured: list[str]
) -> None:
    names = ("gpu-mesh-haproxy.service", "gpu-mesh-agent.socket", "gpu-mesh-agent@.service")
    found = front.monitor.ssh(f"cd /etc/systemd/system && systemd-analyze verify {' '.join(names)} 2>&1")
    assert found.stdout == ""
    exposures = {}
    for name, most in (("gpu-mesh-haproxy.service", EXPOSURE), ("gpu-mesh-agent@x.service", CHEAP_WALLS)):
        line = front.monitor.out(f"systemd-analyze security --no-pager {name} | tail -n 1")
        exposures[name] = float(line.split(":")[1].split()[0])
        assert exposures[name] <= most, name
    spent = "/sys/fs/cgroup/system.slice/system-gpu*agent.slice/cpu.stat"
    cpu = int(front.monitor.out(f"awk '/usage_usec/ {{ print $2 }}' {spent}"))
    asked = int(front.monitor.out("systemctl show gpu-mesh-agent.socket -p NAccepted --value"))
    measured.append("systemd-analyze security: " + ", ".join(f"{name} {e}" for name, e in exposures.items()))
    measured.append(f"CPU of the agent: {cpu / 1000 / max(asked, 1):.1f} ms for each of {asked} questions")
    assert asked > 0
    said = front.monitor.out("journalctl -o cat -t systemd -g gpu-mesh-agent@ --no-pager; true")
    assert said.count("\n") < 5
    assert front.monitor.out("systemctl list-units --failed --plain --no-legend 'gpu-mesh*'") == ""


def test_the_monitors_units_stopped_requests_go_on(front: Mesh) -> None:
    front.monitor.ssh("gpu-mesh drain behind1 --for 1h --reason card")
    front.monitor.ssh("systemctl start gpu-mesh-publish.service")
    front.await_state("behind1", "DRAIN")
    front.monitor.ssh("systemctl stop gpu-mesh.target")
    assert front.ask() == [200] * 10
    front.monitor.ssh("echo 1000000000 >/var/lib/gpu-mesh/www/agent/.until")  # as if minutes had gone by
    front.await_state("behind1", "UP")
    assert front.ask() == [200] * 10
    front.monitor.ssh("systemctl start gpu-mesh.target; gpu-mesh undrain behind1")


def test_what_is_no_longer_wanted_goes_and_leaves_nothing(front: Mesh) -> None:
    front.settings["mesh_monitor_haproxy"] = False
    assert front.operator.play("site.yml").faults == []
    left = "ls /etc/systemd/system/gpu-mesh-*haproxy* /etc/systemd/system/gpu-mesh-agent* /etc/gpu-mesh/*.cfg"
    assert front.monitor.out(f"{left} /etc/gpu-mesh/agent.sh 2>/dev/null; true") == ""
    assert front.monitor.out("ss -Htln '( sport = :11435 or sport = :11481 )'") == ""
    front.monitor.ssh("systemctl start gpu-mesh-publish.service")
    assert front.monitor.out("ls -A /var/lib/gpu-mesh/www/agent") == ""
    front.settings["mesh_monitor_haproxy"] = True
    front.operator.play("site.yml")
    front.operator.play("playbooks/uninstall.yml", "-e", "delete_state_and_log=yes")
    assert front.monitor.out("find /etc /run /usr/local /opt /var/lib -name '*gpu-mesh*'") == ""
