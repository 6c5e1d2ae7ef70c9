"""The same for somebody without root: their own systemd runs the monitor, and an Ollama of theirs."""

import time
from collections.abc import Iterator

import machines
import provision
import pytest
from failing import fail_and_mend

from checkout import PROGRAMS

SYSTEMCTL = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user"
USER = "somebody"


class Mesh:
    """Somebody's machine, with a monitor and an Ollama of theirs; and a node that others provisioned."""

    def __init__(self, site: machines.Site, operator: provision.Operator, mail: provision.Mailbox) -> None:
        self.operator = operator
        self.mail = mail
        self.desk, self.far = site.boot("desk", "far")

    def status(self, node: str) -> str:
        return str(provision.status(self.desk, USER).get(node, {}).get("status"))

    def await_healthy(self, seconds: float = 60) -> None:
        for node in ("own", "wide", "far"):
            machines.await_that(
                lambda node=node: self.status(node) == "healthy", seconds, f"{node} is healthy"
            )


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "user")
    with provision.mailbox(site.address) as (mail, port):
        made = Mesh(site, operator, mail)
        made.desk.ssh(
            f"useradd -m -s /bin/bash {USER} && cp -r /home/admin/.ssh /home/{USER}/ &&"
            f" chown -R {USER}: /home/{USER}/.ssh && loginctl enable-linger {USER}"
        )
        provision.install_ollama(made.desk, "127.0.0.1", USER)
        provision.install_ollama(made.far, "127.0.0.1")
        provision.install_ollama(made.desk, "127.0.0.1", unit="wide", port=11435)
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls:\n  - mailto://{site.address}:{port}?from=mesh@example.net&to=ops@example.net:\n"
            "      tag: [info, warning, error, critical]\n"
        )
        operator.inventory = {
            "mesh_monitors": {
                "hosts": {
                    "desk": {
                        "ansible_host": made.desk.address,
                        "ansible_user": USER,
                        "mesh_monitor_scope": "user",
                        "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                        "mesh_monitor_apprise_source": str(apprise),
                        "mesh_monitor_check_interval": 2,
                        "mesh_monitor_recover_interval": 5,
                        "mesh_monitor_recovery_backoff": 5,
                        "mesh_monitor_flapping": False,  # the tests make it fail again and again
                    }
                }
            },
            "mesh_nodes": {
                "hosts": {
                    "own": {
                        "ansible_host": made.desk.address,
                        "ansible_user": USER,
                        "mesh_node_recovery": "systemd-user",
                        "mesh_node_recovery_user": USER,
                    },
                    "wide": {
                        "ansible_host": made.desk.address,
                        "ansible_user": USER,
                        "mesh_node_unit": "wide.service",
                        "mesh_node_url": "http://127.0.0.1:11435",
                    },
                    "far": {
                        "ansible_host": made.far.address,
                        "ansible_user": "admin",
                        "mesh_tunnel_host": made.far.address,
                        "mesh_tunnel_local_port": 8080,
                    },
                },
                "vars": {"mesh_node_timeout": 2},
            },
        }
        yield made
        for machine in (made.desk, made.far):
            machine.halt()


@pytest.fixture(scope="module")
def watched(mesh: Mesh, measured: list[str]) -> Mesh:
    """The mesh after the first site.yml."""
    play = mesh.operator.play("site.yml", "--diff")
    measured.append(f"user scope, site.yml from nothing: {play.seconds:.0f} s")
    assert play.faults == []
    assert "beyond repair for a monitor that runs as a user, as said above: wide" in play.said
    assert (
        f"wide is watched, but {USER}, as whom the monitor runs, may not restart the system-wide wide.service"
        in play.said
    )
    mesh.await_healthy()
    return mesh


def test_a_unit_of_the_users_own_systemd_that_fails_is_told_of(watched: Mesh) -> None:
    fail_and_mend(
        watched.desk,
        "gpu-mesh-check",
        user=USER,
        systemctl=SYSTEMCTL,
        units="~/.config/systemd/user",
        log="~/.local/state/gpu-mesh/log",
    )


def test_one_run_without_root_makes_every_node_healthy(watched: Mesh) -> None:
    assert watched.desk.out("find / -xdev -newer /etc/machine-id -user root -name '*gpu-mesh*'") == ""
    assert watched.desk.out(f"{SYSTEMCTL} is-enabled gpu-mesh.target", user=USER) == "enabled"


def test_a_second_run_changes_nothing(watched: Mesh) -> None:
    play = watched.operator.play("site.yml")
    assert set(play.recap("changed").values()) == {0}, play.printed


def test_a_login_that_may_become_root_permits_the_restart_of_a_system_wide_ollama(watched: Mesh) -> None:
    watched.operator.inventory["mesh_nodes"]["hosts"]["wide"]["ansible_user"] = "admin"
    watched.operator.play("playbooks/nodes.yml", "-l", "wide,desk")
    permitted = "systemctl --no-ask-password restart"
    assert watched.desk.ssh(f"{permitted} wide.service", user=USER).returncode == 0
    assert watched.desk.ssh(f"{permitted} ssh.service", user=USER, check=False).returncode != 0


@pytest.mark.parametrize("node", ["own", "wide", "far"])
def test_ollama_that_is_killed_is_restarted_and_well_again(
    watched: Mesh, measured: list[str], node: str
) -> None:
    watched.await_healthy()
    machine, login, show = {
        "own": (watched.desk, USER, f"{SYSTEMCTL} show ollama"),
        "wide": (watched.desk, "root", "systemctl show wide"),
        "far": (watched.far, "root", "systemctl show ollama"),
    }[node]
    shown = f"{show} -p MainPID --value"
    before, begun = machine.out(shown, user=login), time.monotonic()
    mails = len(watched.mail.subjects)
    machine.ssh(f"kill -KILL {before}", user=login)
    machines.await_that(
        lambda: machine.out(shown, user=login) not in ("0", before), 60, f"{node} has another process"
    )
    machines.await_that(
        lambda: any(f"INFO] {node}:" in subject for subject in watched.mail.subjects[mails:]),
        60,
        f"a mail that {node} is well; there were {watched.mail.subjects[mails:]}",
    )
    measured.append(f"user scope, ollama on {node} killed: serving again {time.monotonic() - begun:.1f} s")


def test_a_unit_of_the_users_that_systemd_has_given_up_is_started_again(watched: Mesh) -> None:
    watched.await_healthy()
    folder = "~/.config/systemd/user/ollama.service.d"
    script = (PROGRAMS / "give_up.sh").read_text()
    watched.desk.ssh(
        f"export XDG_RUNTIME_DIR=/run/user/$(id -u)\n{script}\ngive_up {folder} --user ollama.service",
        user=USER,
    )
    machines.await_that(lambda: watched.status("own") != "healthy", 30, "a check has noticed it")
    watched.await_healthy()


def test_a_tunnel_that_is_stopped_is_rebuilt(watched: Mesh) -> None:
    watched.await_healthy()
    watched.desk.ssh(f"{SYSTEMCTL} stop gpu-mesh-tunnel@far", user=USER)
    machines.await_that(lambda: watched.status("far") != "healthy", 30, "the closed tunnel is noticed")
    watched.await_healthy(90)


def test_a_reboot_brings_everything_back_without_a_login(watched: Mesh) -> None:
    watched.desk.reboot()
    watched.await_healthy()
    assert watched.desk.out(f"{SYSTEMCTL} list-units --failed --no-legend 'gpu-mesh*'", user=USER) == ""


def test_uninstall_leaves_nothing_behind(watched: Mesh) -> None:
    watched.operator.play("playbooks/uninstall.yml", "-e", "delete_state_and_log=yes")
    for machine in (watched.desk, watched.far):
        left = machine.out("find / -xdev -name '*gpu-mesh*'; getent passwd gpu-mesh || true")
        assert left == "", machine.name
