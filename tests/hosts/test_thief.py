"""Whoever has the monitor's key, or is the monitor's user, becomes nobody else by it.

``vault`` is reached through a tunnel. On ``attic`` the ssh server reads no drop-ins, and a second node there
belongs to bob, a person with a login of his own.
"""

import shlex
from collections.abc import Iterator

import machines
import provision
import pytest

from checkout import PROGRAMS

LOGIN = (
    "runuser -u gpu-mesh -- ssh -F none -i /etc/gpu-mesh/ssh/id_ed25519 -o BatchMode=yes -o LogLevel=ERROR"
    " -o UserKnownHostsFile=/etc/gpu-mesh/ssh/known_hosts -o StrictHostKeyChecking=yes"
)
EVERYTHING = "/etc /root /usr /opt /home /boot /srv /var/spool /var/lib/systemd /var/mail"
KEYS = "/etc/ssh/gpu-mesh/gpu-mesh"
HOW = ("files", "new", "folders")


class Mesh:
    """A monitor, and two hosts with three nodes."""

    def __init__(self, site: machines.Site, operator: provision.Operator) -> None:
        self.operator = operator
        self.monitor, self.vault, self.attic = site.boot("safe", "vault", "attic")

    @property
    def hosts(self) -> tuple[machines.Machine, ...]:
        return self.monitor, self.vault, self.attic

    def login(self, machine: machines.Machine, command: str, *options: str, user: str = "gpu-mesh") -> str:
        """Log in there with the monitor's key; return what the command printed."""
        words = [LOGIN, *options, f"{user}@{machine.address}", shlex.quote(command)]
        return self.monitor.ssh(f"cd / && {' '.join(words)}", check=False).stdout.strip()

    def plant(self, how: str) -> dict[str, list[str]]:
        """Let the thief be at each place where he can be; return in which folders he could write."""
        program = (PROGRAMS / "plant.py").read_text()
        here = f"cd / && runuser -u gpu-mesh -- python3 -c {shlex.quote(program)} {how}"
        found = {"the monitor": self.monitor.out(here)}
        for machine, user in ((self.vault, "gpu-mesh"), (self.attic, "gpu-mesh"), (self.attic, "bob")):
            as_user = f"cd / && runuser -u {user} -- python3 -c {shlex.quote(program)} {how}"
            found[f"{user} on {machine.name}"] = machine.out(as_user)
        return {who: said.splitlines() for who, said in found.items()}

    def await_healthy(self) -> None:
        for node in ("vault", "attic", "bobs"):
            machines.await_that(
                lambda node=node: provision.status(self.monitor).get(node, {}).get("status") == "healthy",
                60,
                f"{node} is healthy",
            )


def everything(machine: machines.Machine) -> dict[str, str]:
    """Return each file there that is not bob's own: what it is, whose it is, and its content's hash."""
    own = "/home/bob /etc/gpu-mesh/inventory.old /root/.ansible"
    names = " -o ".join(f"-path {path}" for path in own.split())
    find = f"find {EVERYTHING} '(' {names} -o -name __pycache__ ')' -prune -o"
    shown = machine.out(
        f"{find} -printf '%p|%y %m %U %G %l\\n'; {find} -type f -print0 | xargs -0 sha256sum"
        " | sed 's/^\\([^ ]*\\)  \\(.*\\)/\\2#|\\1/'"
    )
    return dict(line.split("|", 1) for line in shown.splitlines())


def differences(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {
        path: (before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    }


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "thief")
    made = Mesh(site, operator)
    provision.install_ollama(made.vault, "127.0.0.1")
    provision.install_ollama(made.attic, "0.0.0.0")
    provision.install_ollama(made.attic, "0.0.0.0", unit="bobs", port=11435)
    made.attic.ssh(
        "sed -i '/^Include/d' /etc/ssh/sshd_config && systemctl restart ssh && useradd -m -s /bin/sh bob"
    )
    for machine in made.hosts:
        machine.ssh("echo kept >/root/here && chmod 600 /root/here")
    operator.inventory = {
        "all": {"vars": {"ansible_user": "admin"}},
        "mesh_monitors": {
            "hosts": {
                "safe": {
                    "ansible_host": made.monitor.address,
                    "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                    "mesh_monitor_check_interval": 2,
                    "mesh_monitor_recover_interval": 5,
                }
            }
        },
        "mesh_nodes": {
            "hosts": {
                "vault": {
                    "ansible_host": made.vault.address,
                    "mesh_tunnel_host": made.vault.address,
                    "mesh_tunnel_local_port": 8080,
                    "mesh_node_key_from": [made.monitor.address, "192.0.2.0/24"],
                },
                "attic": {"ansible_host": made.attic.address},
                "bobs": {
                    "ansible_host": made.attic.address,
                    "mesh_node_url": f"http://{made.attic.address}:11435",
                    "mesh_node_unit": "bobs.service",
                    "mesh_node_recovery_user": "bob",
                },
            },
            "vars": {"mesh_node_timeout": 2},
        },
    }
    yield made
    for machine in made.hosts:
        machine.halt()


@pytest.fixture(scope="module")
def watched(mesh: Mesh) -> Mesh:
    """The mesh after the first site.yml."""
    play = mesh.operator.play("site.yml")
    assert play.faults == []
    mesh.await_healthy()
    return mesh


def test_keys_are_kept_where_only_root_writes_or_in_the_file_of_the_one_who_owns_it(watched: Mesh) -> None:
    key = watched.monitor.out("cat /etc/gpu-mesh/ssh/id_ed25519.pub")
    line = watched.vault.out(f"cat {KEYS}")
    assert line.endswith(key)
    assert line.startswith(f'from="{watched.monitor.address},192.0.2.0/24",restrict,')
    assert watched.vault.out(f"stat -c '%U %a' {KEYS} /etc/ssh/gpu-mesh") == "root 644\nroot 755"
    for user, home in (("gpu-mesh", "/var/lib/gpu-mesh-node"), ("bob", "/home/bob")):
        file = f"{home}/.ssh/authorized_keys"
        assert watched.attic.out(f"cat {file}") == f"restrict {key}"
        assert watched.attic.out(f"stat -c '%U %a' {file} {home}/.ssh") == f"{user} 600\n{user} 700"
        assert watched.login(watched.attic, "id -un", user=user) == user
    assert watched.attic.out("ls -d /etc/ssh/gpu-mesh* /etc/ssh/sshd_config.d/*gpu-mesh* || true") == ""
    assert watched.login(watched.vault, "id -un; pwd") == "gpu-mesh\n/var/lib/gpu-mesh-node"
    again = watched.operator.play("site.yml")
    assert set(again.recap("changed").values()) == {0}, again.printed


def test_the_monitors_user_can_read_its_keys_and_write_none(watched: Mesh) -> None:
    found = watched.monitor.out("cd / && runuser -u gpu-mesh -- find /etc/gpu-mesh -writable -not -type l")
    assert found.splitlines() == ["/etc/gpu-mesh/apprise.yml"]
    assert watched.monitor.out("stat -c '%U %G %a' /etc/gpu-mesh/ssh/id_ed25519") == "root gpu-mesh 640"


@pytest.mark.parametrize("how", HOW)
def test_root_follows_no_link_that_a_thief_has_planted(watched: Mesh, how: str) -> None:
    """Whether the play then ends well is the thief's harm; a person reads whose file stands in the way."""
    watched.monitor.ssh("systemctl stop gpu-mesh.target 'gpu-mesh-*.timer' 'gpu-mesh-*.path'")
    folders = watched.plant(how)
    assert all(folders.values()), folders
    before = [everything(machine) for machine in watched.hosts]
    play = watched.operator.play("site.yml", check=False)
    for machine, was in zip(watched.hosts, before, strict=True):
        there = {
            path: change
            for path, change in differences(was, everything(machine)).items()
            if not path.startswith("/etc/systemd/system/gpu-mesh.target.wants")
        }
        assert there == {}, f"{machine.name}: {there}\n{folders}\n{play.printed[-3000:]}"
