"""A node whose ssh server is reached through a jump host only: set up, repaired, and taken away again."""

import re
import shlex
from collections.abc import Iterator

import machines
import provision
import pytest


class Mesh:
    """A monitor, a jump host, and a node that takes no ssh connection from the monitor itself."""

    def __init__(self, site: machines.Site, operator: provision.Operator) -> None:
        self.operator = operator
        self.monitor, self.jump, self.far = site.boot("watcher", "jump", "hidden")

    def status(self) -> str:
        return str(provision.status(self.monitor).get("far", {}).get("status"))

    def await_healthy(self, seconds: float = 60) -> None:
        machines.await_that(lambda: self.status() == "healthy", seconds, "far is healthy")


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "jump-host")
    made = Mesh(site, operator)
    provision.install_ollama(made.far, "0.0.0.0")
    made.far.ssh(
        "nft add table inet guard && nft 'add chain inet guard in { type filter hook input priority 0; }'"
        f" && nft add rule inet guard in tcp dport 22 ip saddr {made.monitor.address} drop"
    )
    key = (made.jump.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()
    operator.inventory = {
        "all": {"vars": {"ansible_user": "admin"}},
        "mesh_monitors": {
            "hosts": {
                "watcher": {
                    "ansible_host": made.monitor.address,
                    "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                    "mesh_monitor_check_interval": 2,
                    "mesh_monitor_recover_interval": 5,
                    "mesh_monitor_recovery_backoff": 5,
                }
            }
        },
        "mesh_nodes": {
            "hosts": {
                "far": {
                    "ansible_host": made.far.address,
                    "ansible_ssh_common_args": f"-J admin@{made.jump.address}",
                    "mesh_node_jump_host_key": key,
                    "mesh_node_timeout": 2,
                },
                "near": {"ansible_host": made.jump.address, "mesh_node_recovery": "none"},
            }
        },
    }
    yield made
    for machine in (made.monitor, made.jump, made.far):
        machine.halt()


def test_a_node_behind_a_jump_host_is_repaired_through_it(mesh: Mesh) -> None:
    play = mesh.operator.play("site.yml")
    assert play.faults == []
    assert "Nobody is told of anything: /etc/gpu-mesh/apprise.yml has no URL." in play.said
    mesh.await_healthy()
    key = mesh.monitor.out("cat /etc/gpu-mesh/ssh/id_ed25519.pub")
    permitted = f'restrict,port-forwarding,permitopen="{mesh.far.address}:22" {key}'
    with (mesh.jump.root / "home/admin/.ssh/authorized_keys").open("a") as authorized:
        authorized.write(permitted + "\n")
    direct = f"timeout 5 ssh -o BatchMode=yes gpu-mesh@{mesh.far.address} true; echo $?"
    assert mesh.monitor.out(direct) == "124", "the monitor cannot go there directly"
    pid = "systemctl show ollama -p MainPID --value"
    first = mesh.far.out(pid)
    mesh.far.ssh(f"kill -KILL {first}")
    machines.await_that(
        lambda: mesh.far.out(pid) not in ("0", first), 60, "Ollama on far has another process"
    )
    mesh.await_healthy()


def test_what_is_left_on_it_is_taken_away_through_the_same_host(mesh: Mesh) -> None:
    del mesh.operator.inventory["mesh_nodes"]["hosts"]["far"]
    play = mesh.operator.play("site.yml")
    command = re.search(r"ansible-playbook (playbooks/uninstall\.yml -e gpu_mesh_gone=far .*)", play.printed)
    assert command, play.printed
    words = shlex.split(command.group(1))
    assert words[-1] == f"--ssh-common-args=-J admin@{mesh.jump.address}"
    taken = mesh.operator.play(*words)
    assert "far: nothing is left" in taken.said, taken.printed
