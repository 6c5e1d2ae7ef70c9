"""site.yml lets the distribution's nginx or Caddy give out the page for strangers, as a unit of its own."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import machines
import provision
import pytest
from test_system_scope import EXPOSURE

ASK = """
import json, sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=10)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, dict(answer.headers), answer.read().decode()]))
"""


class Mesh:
    """A monitor that gives out its page; its one node does not serve. Its own nginx runs before that."""

    def __init__(self, site: machines.Site, operator: provision.Operator) -> None:
        self.operator = operator
        (self.monitor,) = site.boot("giver", packages=("nginx", "caddy"))
        self.monitor.ssh("systemctl disable --quiet --now caddy.service; systemctl start nginx.service")
        (self.monitor.root / "opt/ask.py").write_text(ASK)

    @property
    def settings(self) -> dict[str, Any]:
        """The monitor's variables, to be changed in place."""
        found: dict[str, Any] = self.operator.inventory["mesh_monitors"]["hosts"]["giver"]
        return found

    def ask(self, path: str, port: int = 11480) -> tuple[int, dict[str, str], str]:
        """Ask the server on the monitor for a file; return status, headers in small letters, and text."""
        url = shlex.quote(f"http://127.0.0.1:{port}{path}")
        status, headers, text = json.loads(self.monitor.out(f"python3 /opt/ask.py {url}"))
        return status, {name.lower(): value for name, value in headers.items()}, text

    def await_page(self, port: int = 11480) -> None:
        answers = f"python3 /opt/ask.py http://127.0.0.1:{port}/ 2>/dev/null | grep -c DOCTYPE; true"
        machines.await_that(lambda: self.monitor.out(answers) == "1", 60, "the page is given out")

    def main_pid(self) -> str:
        return self.monitor.out("systemctl show gpu-mesh-web.service -p MainPID --value")


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "web")
    made = Mesh(site, operator)
    operator.inventory = {
        "all": {"vars": {"ansible_user": "admin"}},
        "mesh_monitors": {
            "hosts": {
                "giver": {
                    "ansible_host": made.monitor.address,
                    "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                    "mesh_monitor_check_interval": 2,
                    "mesh_monitor_publish": "public",
                    "mesh_monitor_web": "nginx",
                }
            }
        },
        "mesh_nodes": {
            "hosts": {
                "gone": {
                    "ansible_host": made.monitor.address,
                    "mesh_node_url": "http://127.0.0.1:9",
                    "mesh_node_name": "Iceland",
                    "mesh_node_recovery": "none",
                }
            }
        },
    }
    yield made
    made.monitor.halt()


def test_without_the_web_server_the_package_is_named_and_nothing_is_changed(mesh: Mesh) -> None:
    mesh.monitor.ssh("mv /usr/sbin/nginx /usr/sbin/nginx.away")
    play = mesh.operator.play("site.yml", check=False)
    mesh.monitor.ssh("mv /usr/sbin/nginx.away /usr/sbin/nginx")
    assert play.code != 0
    assert "nginx is missing; on Debian and Ubuntu, apt install nginx" in play.said
    assert mesh.monitor.out("ls -d /etc/gpu-mesh; true") == ""


@pytest.fixture(scope="module")
def given(mesh: Mesh) -> Mesh:
    """The mesh after the first site.yml."""
    assert mesh.operator.play("site.yml", "--diff").faults == []
    mesh.await_page()
    return mesh


def is_given_out(mesh: Mesh, port: int = 11480) -> None:
    machines.await_that(
        lambda: "The node does not serve" in mesh.ask("/", port)[2], 60, "the page says what is wrong"
    )
    for path, kind in (
        ("/", "text/html"),
        ("/status.json", "application/json"),
        ("/feed.xml", "xml"),
        ("/badge/mesh.svg", "image/svg+xml"),
        ("/badge/gone.svg", "image/svg+xml"),
    ):
        status, headers, text = mesh.ask(path, port)
        assert (status, headers["cache-control"]) == (200, "no-cache"), path
        assert kind in headers["content-type"], path
        assert "127.0.0.1" not in text, f"{path} tells strangers an address"
    for path in ("/best.json", "/metrics", "/badge/", "/.gpu-mesh.new", "/../etc/passwd"):
        assert mesh.ask(path, port)[0] in (400, 403, 404), path


def test_strangers_are_given_the_page_and_nothing_else(given: Mesh) -> None:
    is_given_out(given)


def test_only_this_machine_can_ask_and_the_web_server_that_was_there_goes_on(given: Mesh) -> None:
    listening = given.monitor.out("ss -Htln '( sport = :11480 )'").split()
    assert [word for word in listening if ":11480" in word] == ["127.0.0.1:11480"]
    assert "Welcome to nginx" in given.ask("/", 80)[2]


def test_a_second_run_changes_nothing_and_restarts_nothing(given: Mesh) -> None:
    before = given.main_pid()
    play = given.operator.play("site.yml", "--diff")
    assert set(play.recap("changed").values()) == {0}, play.printed
    assert given.main_pid() == before


def test_the_unit_is_sound_and_has_hardly_any_rights(given: Mesh, measured: list[str]) -> None:
    verify = "cd /etc/systemd/system && systemd-analyze verify gpu-mesh-web.service 2>&1"
    assert given.monitor.ssh(verify).stdout == ""
    line = given.monitor.out("systemd-analyze security --no-pager gpu-mesh-web.service | tail -n 1")
    exposure = float(line.split(":")[1].split()[0])
    measured.append(f"systemd-analyze security: gpu-mesh-web {exposure}")
    assert exposure <= EXPOSURE
    pid = given.main_pid()
    owner = given.monitor.out(f"stat -c %U /proc/{pid}")
    assert owner not in ("root", "gpu-mesh")
    inside = f"nsenter -t {pid} -m -S $(stat -c %u /proc/{pid}) ls"
    for hidden in ("/var/lib/gpu-mesh", "/etc/gpu-mesh/inventory", "/var/log/gpu-mesh"):
        assert given.monitor.ssh(f"{inside} {hidden} 2>&1", check=False).returncode != 0, hidden


def test_it_comes_back_when_it_is_killed(given: Mesh) -> None:
    before = given.main_pid()
    given.monitor.ssh(f"kill -9 {before}")
    machines.await_that(lambda: given.main_pid() not in ("0", before), 60, "it runs again")
    given.await_page()


def test_it_goes_on_while_the_monitor_stands_still(given: Mesh) -> None:
    given.monitor.ssh("systemctl stop gpu-mesh.target")
    assert given.monitor.out("systemctl is-active gpu-mesh-web.service") == "active"
    assert "data-stale-after=" in given.ask("/")[2]
    given.monitor.ssh("systemctl start gpu-mesh.target")


def test_caddy_does_the_same_at_a_port_that_needs_a_capability(given: Mesh) -> None:
    given.settings.update({"mesh_monitor_web": "caddy", "mesh_monitor_web_port": 81})
    assert given.operator.play("site.yml").faults == []
    assert "/usr/bin/caddy" in given.monitor.out("systemctl show gpu-mesh-web.service -p ExecStart --value")
    given.await_page(81)
    is_given_out(given, 81)
    assert given.monitor.out("ss -Htln '( sport = :11480 )'") == ""
    line = given.monitor.out("systemd-analyze security --no-pager gpu-mesh-web.service | tail -n 1")
    assert float(line.split(":")[1].split()[0]) <= EXPOSURE, given.monitor.out(
        "systemd-analyze security --no-pager gpu-mesh-web.service"
    )


def test_what_is_no_longer_wanted_goes_and_leaves_nothing(given: Mesh) -> None:
    del given.settings["mesh_monitor_web"]
    given.settings["mesh_monitor_publish"] = "private"
    assert given.operator.play("site.yml").faults == []
    left = (
        "ls -d /etc/systemd/system/gpu-mesh-web* /etc/gpu-mesh/web.conf /run/gpu-mesh-web 2>/dev/null; true"
    )
    assert given.monitor.out(left) == ""
    assert given.monitor.out("ss -Htln '( sport = :81 )'") == ""
    given.monitor.ssh("systemctl start gpu-mesh-publish.service")
    assert given.monitor.out("find /var/lib/gpu-mesh-public -type f 2>/dev/null; true") == ""
    given.settings.update({"mesh_monitor_web": "nginx", "mesh_monitor_publish": "public"})
    given.operator.play("site.yml")
    given.await_page(81)
    given.operator.play("playbooks/uninstall.yml", "-e", "delete_state_and_log=yes")
    assert given.monitor.out("find /etc /run /usr/local /opt /var/lib -name '*gpu-mesh*'") == ""
    assert "Welcome to nginx" in given.ask("/", 80)[2]
