"""Whoever has the monitor's key, or is the monitor's user, becomes nobody else by it.

``vault`` is reached through a tunnel. On ``attic`` the ssh server reads no drop-ins, and a second node there
belongs to bob, a person with a login of his own.
"""

import re
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


def test_what_an_older_version_set_up_is_brought_over_past_the_links_in_it(watched: Mesh) -> None:
    _mend(watched)
    old = "/var/lib/gpu-mesh/.ssh"
    line = "restrict,pty " + watched.monitor.out("cat /etc/gpu-mesh/ssh/id_ed25519.pub")
    watched.monitor.ssh("systemctl stop 'gpu-mesh-tunnel@*'")
    for machine in (watched.vault, watched.attic):
        machine.ssh(
            "rm -rf /etc/ssh/gpu-mesh /etc/ssh/sshd_config.d/*gpu-mesh* /var/lib/gpu-mesh-node"
            f" && systemctl reload ssh && install -d -o gpu-mesh -m 700 /var/lib/gpu-mesh {old}"
            f" && echo '{line}' >{old}/authorized_keys && chown gpu-mesh {old}/authorized_keys"
            " && pkill -KILL -u gpu-mesh; sleep 0.5; usermod -d /var/lib/gpu-mesh gpu-mesh"
        )
    watched.vault.ssh(f"cd {old} && mv authorized_keys kept && ln -s /root/here authorized_keys")
    watched.monitor.ssh(
        "cd /etc/gpu-mesh && chown -R gpu-mesh: ssh && chmod 700 ssh && chmod 600 ssh/*"
        " && runuser -u gpu-mesh -- sh -c 'cd ssh && rm id_ed25519.pub known_hosts"
        " && ln -s /root/here id_ed25519.pub && ln -s /root/here known_hosts'"
    )
    before = [everything(machine) for machine in watched.hosts]
    watched.operator.play("site.yml")
    for machine, was in zip(watched.hosts, before, strict=True):
        there = differences(was, everything(machine))
        assert not [path for path in there if path.startswith("/root")], there
    for machine in (watched.vault, watched.attic):
        assert watched.login(machine, "pwd") == "/var/lib/gpu-mesh-node"
        assert machine.out("ls -d /var/lib/gpu-mesh 2>/dev/null || true") == ""
    watched.await_healthy()


def _mend(watched: Mesh) -> None:
    """Take the thief's links away, as a person does who is told of them."""
    for machine in watched.hosts:
        machine.ssh("find / -xdev -lname '/root*' -not -path '/root*' -delete")
    watched.attic.ssh("install -d -o bob -g bob -m 700 /home/bob/.ssh")
    play = watched.operator.play("site.yml", check=False)
    assert play.code == 0, play.printed[-3000:]
    watched.await_healthy()


FORWARDS = "-o ExitOnForwardFailure=yes"


@pytest.mark.parametrize("user", ["gpu-mesh on vault", "gpu-mesh on attic", "bob on attic"])
@pytest.mark.parametrize(
    ("options", "command", "refused"),
    [
        (f"{FORWARDS} -R 9998:127.0.0.1:22", "echo in", ""),
        (f"{FORWARDS} -R /tmp/socket:127.0.0.1:22", "echo in", ""),
        ("-A", 'echo "agent:$SSH_AUTH_SOCK"', "agent:"),
        ("-X", 'echo "display:$DISPLAY"', "display:"),
        ("-tt", "tty -s && echo terminal", ""),
    ],
    ids=["listening", "listening on a socket", "agent", "X11", "terminal"],
)
def test_the_key_opens_nothing_but_the_tunnel(
    watched: Mesh, user: str, options: str, command: str, refused: str
) -> None:
    name, _, machine = user.partition(" on ")
    there = {each.name: each for each in watched.hosts}[machine]
    agent = f"eval $(ssh-agent) >/dev/null; DISPLAY=:0 {LOGIN}"
    assert watched.login(there, "echo in", user=name) == "in"
    words = (
        f"cd / && {agent} {options} {name}@{there.address} {shlex.quote(command)}; ssh-agent -k >/dev/null"
    )
    assert watched.monitor.ssh(words, check=False).stdout.strip() == refused


@pytest.mark.parametrize(
    ("target", "permitted"),
    [("127.0.0.1:11434", True), ("127.0.0.1:22", False), ("/run/dbus/system_bus_socket", False)],
)
def test_the_key_reaches_through_a_forward_what_the_tunnel_reaches_and_nothing_else(
    watched: Mesh, target: str, permitted: bool
) -> None:
    asked = (
        "import socket; s = socket.create_connection(('127.0.0.1', 9997), 5); s.settimeout(5);"
        " s.sendall(b'GET /api/version HTTP/1.0\\r\\n\\r\\n'); print(s.recv(20))"
    )
    words = f"{LOGIN} -N {FORWARDS} -L 127.0.0.1:9997:{target} gpu-mesh@{watched.vault.address}"
    listens = "until ss -ltn | grep -q 127.0.0.1:9997; do kill -0 $opened || exit 9; sleep 0.1; done"
    done = watched.monitor.ssh(
        f'cd / && {{ {words} & }}; opened=$!; {listens}; python3 -c "{asked}"; kill $opened; wait $opened',
        check=False,
    )
    assert ("HTTP/1." in done.stdout) is permitted, done.stdout + done.stderr


def test_the_key_logs_in_from_the_monitors_address_alone_where_that_is_wanted(watched: Mesh) -> None:
    stolen = watched.monitor.out("cat /etc/gpu-mesh/ssh/id_ed25519")
    watched.attic.ssh(f"umask 077; echo {shlex.quote(stolen)} >/root/stolen")
    login = "ssh -F none -i /root/stolen -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR"
    known = "-o UserKnownHostsFile=/dev/null"
    refused = watched.attic.ssh(f"{login} {known} gpu-mesh@{watched.vault.address} id", check=False)
    watched.attic.ssh("rm /root/stolen")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    assert watched.login(watched.vault, "echo in") == "in"


def test_uninstall_follows_no_link_either_and_leaves_nothing(watched: Mesh) -> None:
    watched.monitor.ssh("systemctl stop gpu-mesh.target 'gpu-mesh-*.timer' 'gpu-mesh-*.path'")
    watched.plant("folders")
    before = [everything(machine) for machine in watched.hosts]
    watched.attic.ssh("rm /home/bob/.ssh")
    watched.operator.play("playbooks/uninstall.yml", "-e", "delete_state_and_log=yes")
    accounts = r"/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?#?$"
    ours = rf"gpu-mesh|^/etc/systemd/system/(default|multi-user)\.target\.wants|{accounts}"
    for machine, was in zip(watched.hosts, before, strict=True):
        after = everything(machine)
        others = [path for path in differences(was, after) if not re.search(ours, path)]
        assert others == [], machine.name
        assert machine.out("find / -xdev -name '*gpu-mesh*'; getent passwd gpu-mesh || true") == ""
    assert "restrict" not in watched.attic.out("cat /home/bob/.ssh/authorized_keys 2>/dev/null || true")
