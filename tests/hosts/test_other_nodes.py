"""Nodes that are not a plain systemd host of the operator's own, two monitors, secrets, and what is refused.

On one host: a container, a node that the operator may not provision, and one whose systemd repairs crashes
itself. Beside it a rented pod: no systemd, no Python, and one root login with a key of its own.
"""

import contextlib
import copy
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import machines
import provision
import pytest

from checkout import PROGRAMS, ROOT
from gpu_mesh.text.commands import with_commands

NODES = ("docked", "lent", "sturdy", "pod")
HEARTBEAT, ALERTS = "heartbeat-hunter2", "alerts-hunter2"  # what nobody may be shown
INDEX = "index-hunter2"
COMMAND = "pkill -KILL ollama; pkill -KILL -f /[o]llama/llama-server; sleep 1; exec ollama serve"
CONTAINER = "ollama-gpu1"  # the one of tests/programs/docker.sh
# As docs/provisioning.md shows it to who owns such a node.
RULE = """polkit.addRule(function (action, subject) {
  if (action.id === "org.freedesktop.systemd1.manage-units" && subject.user === "keeper" &&
      action.lookup("unit") === "lent.service" &&
      ["start", "restart", "reset-failed"].indexOf(action.lookup("verb")) >= 0) {
    return polkit.Result.YES;
  }
  return polkit.Result.NOT_HANDLED;
});
"""
OURS = "find / -xdev -name '*gpu-mesh*'; getent passwd gpu-mesh || true"


class Mesh:
    """Two monitors, a host with three nodes, a pod."""

    def __init__(self, site: machines.Site, operator: provision.Operator, web: provision.Web) -> None:
        self.operator = operator
        self.web = web
        self.guard, self.second, self.shed = site.boot("guard", "second", "shed")
        (self.pod,) = site.boot("pod", program=provision.POD)

    def status(self, node: str, monitor: machines.Machine | None = None) -> str:
        return str(provision.status(monitor or self.guard).get(node, {}).get("status"))

    def await_healthy(self, node: str, monitor: machines.Machine | None = None) -> float:
        return machines.await_that(
            lambda: self.status(node, monitor) == "healthy",
            60,
            f"{node} is healthy; it is {self.status(node)}",
        )

    @contextlib.contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """Let a test change the inventory; afterwards it is as it was."""
        kept = copy.deepcopy(self.operator.inventory)
        try:
            yield self.operator.inventory
        finally:
            self.operator.inventory = kept


def _furnish(mesh: Mesh) -> None:
    shed, pod = mesh.shed, mesh.pod
    provision.install_ollama(shed, "0.0.0.0")
    provision.install_ollama(shed, "0.0.0.0", unit="container", port=11435)
    provision.install_ollama(shed, "0.0.0.0", unit="lent", port=11436)
    docker = shed.root / "usr/local/bin/docker"
    shutil.copy(PROGRAMS / "docker.sh", docker)
    shed.ssh("useradd -m -s /bin/sh keeper && install -d -m 700 -o keeper /home/keeper/.ssh")
    (shed.root / "etc/polkit-1/rules.d/60-lent.rules").write_text(RULE)
    for machine, home in ((shed, "home/keeper"), (pod, "root")):
        key = mesh.operator.folder / f"{machine.name}.key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        with (machine.root / home / ".ssh/authorized_keys").open("a") as authorized:
            authorized.write(key.with_suffix(".key.pub").read_text())
    shed.ssh("chown keeper /home/keeper/.ssh/authorized_keys")
    provision.furnish_pod(pod)


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "other")
    wheels = provision.wheels(site, "311")
    with provision.web(site.address, wheels) as web:
        made = Mesh(site, operator, web)
        _furnish(made)
        here = made.shed.address
        later = f"{datetime.now(UTC) + timedelta(days=3):%a}".lower()
        secrets = operator.folder / "group_vars/mesh_monitors.yml"
        secrets.parent.mkdir()
        secrets.write_text(f"mesh_monitor_heartbeat_url: http://{web.address}/{HEARTBEAT}\n")
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(f"urls:\n  - json://{web.address}/{ALERTS}: {{tag: [error, info]}}\n")
        operator.encrypt(secrets, apprise)
        (made.second.root / "etc/pip.conf").write_text(f"[global]\ntrusted-host = {site.address}\n")
        # Most of these few nodes are made to fail at once, and one after the other again and again.
        fast = {
            "mesh_monitor_recover_interval": 5,
            "mesh_monitor_recovery_backoff": 5,
            "mesh_monitor_recovery_brake": 0,
            "mesh_monitor_flapping": False,
        }
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {
                    "guard": {
                        "ansible_host": made.guard.address,
                        "mesh_monitor_wheels": str(wheels),
                        "mesh_monitor_check_interval": 2,
                        **fast,
                    },
                    "second": {
                        "ansible_host": made.second.address,
                        "mesh_monitor_index": f"http://{INDEX}@{web.address}/simple",
                        "mesh_monitor_check_interval": 3,
                    },
                },
                "vars": {"mesh_monitor_apprise_source": str(apprise)},
            },
            "mesh_nodes": {
                "hosts": {
                    "docked": {
                        "ansible_host": here,
                        "mesh_node_url": f"http://{here}:11435",
                        "mesh_node_recovery": "docker",
                        "mesh_node_container": CONTAINER,
                        # Closed today; its zone must be known on a machine without the package tzdata.
                        "mesh_node_maintenance": [
                            {"days": [later], "from": "03:00", "to": "05:00", "zone": "Europe/Berlin"}
                        ],
                    },
                    "lent": {
                        "ansible_host": here,
                        "ansible_user": "stranger",  # who may not log in there
                        "mesh_node_url": f"http://{here}:11436",
                        "mesh_node_unit": "lent.service",
                        "mesh_node_recovery_user": "keeper",
                        "mesh_node_recovery_key": str(operator.folder / "shed.key"),
                        "mesh_node_host_key": (made.shed.root / "etc/ssh/ssh_host_ed25519_key.pub")
                        .read_text()
                        .strip(),
                    },
                    "sturdy": {"ansible_host": here, "mesh_node_restart_after_crash": True},
                    "pod": {
                        "ansible_host": made.pod.address,
                        "ansible_port": 22022,
                        "ansible_user": "root",
                        "mesh_node_recovery": "command",
                        "mesh_node_recovery_command": COMMAND,
                        "mesh_node_recovery_user": "root",
                        "mesh_node_recovery_key": str(operator.folder / "pod.key"),
                        "mesh_tunnel_host": made.pod.address,
                        "mesh_tunnel_local_port": 8081,
                    },
                },
                "vars": {"mesh_node_timeout": 2},
            },
        }
        yield made
        for machine in (made.guard, made.second, made.shed, made.pod):
            machine.halt()


def test_a_monitor_that_lacks_something_is_told_what_and_nothing_is_written(mesh: Mesh) -> None:
    old = mesh.guard.root / "usr/local/bin/python2.9"
    old.write_text('#!/bin/sh\ncase "$*" in *version_info*) echo "gpu-mesh: version 3.9" ;; esac\n')
    old.chmod(0o755)
    mesh.guard.ssh("mv /usr/sbin/logrotate /usr/bin/ss /root/")
    with mesh.changed() as inventory:
        inventory["mesh_monitors"]["hosts"]["guard"]["mesh_monitor_python"] = "python2.9"
        play = mesh.operator.play("playbooks/monitor.yml", "-l", "guard", check=False)
    mesh.guard.ssh("mv /root/logrotate /usr/sbin/; mv /root/ss /usr/bin/")
    assert play.code != 0
    for said in (
        "guard: python2.9 is Python 3.9, and 3.11 or newer is needed",
        "guard: logrotate is missing; on Debian and Ubuntu, apt install logrotate",
        "guard: the program ss is missing; on Debian and Ubuntu, apt install iproute2",
    ):
        assert said in play.said, play.printed
    assert mesh.guard.out(OURS) == ""


def test_two_nodes_with_one_local_port_are_refused_and_nothing_is_written(mesh: Mesh) -> None:
    with mesh.changed() as inventory:
        inventory["mesh_nodes"]["hosts"]["docked"] |= {
            "mesh_tunnel_host": mesh.shed.address,
            "mesh_tunnel_local_port": 8081,
        }
        play = mesh.operator.play("playbooks/monitor.yml", "-l", "guard", check=False)
    assert play.code != 0
    assert "docked 8081, pod 8081" in play.said
    assert mesh.guard.out(OURS) == ""


def test_check_mode_on_new_machines_says_what_it_would_do_and_does_nothing(
    mesh: Mesh, measured: list[str]
) -> None:
    play = mesh.operator.play("site.yml", "--check", "--diff")
    measured.append(f"site.yml --check of new machines: {play.seconds:.0f} s")
    assert play.recap("changed")["guard"] > 0
    assert play.recap("changed")["lent"] == 0
    assert "in check mode a new monitor cannot say yet what the node needs" in play.said
    for machine in (mesh.guard, mesh.second, mesh.shed):
        assert machine.out(OURS) == "", machine.name


@pytest.fixture(scope="module")
def watched(mesh: Mesh, measured: list[str]) -> Mesh:
    """The mesh after the first site.yml."""
    play = mesh.operator.play("site.yml", "-v", "--diff")
    measured.append(f"two monitors and four other nodes, site.yml from nothing: {play.seconds:.0f} s")
    for secret in (HEARTBEAT, ALERTS, INDEX, "open sesame"):
        assert secret not in play.printed
    for node in NODES:
        mesh.await_healthy(node)
    return mesh


def test_secrets_out_of_a_vault_arrive_and_are_shown_to_nobody(watched: Mesh) -> None:
    """Of what site.yml printed, even with -v --diff, the fixture has made sure."""
    machines.await_that(lambda: f"/{HEARTBEAT}" in watched.web.requests, 20, "a heartbeat came")
    assert ALERTS in watched.guard.out("cat /etc/gpu-mesh/apprise.yml")
    assert watched.guard.out("stat -c '%a %U' /etc/gpu-mesh/apprise.yml") == "600 gpu-mesh"
    shown = watched.guard.out(
        "cat /var/log/gpu-mesh/* /var/lib/gpu-mesh/*.json /etc/gpu-mesh/inventory/*; "
        "journalctl -b --no-pager; gpu-mesh status"
        " || true; runuser -u nobody -- cat /etc/gpu-mesh/inventory/mesh.yml 2>&1 || true"
    )
    for secret in (HEARTBEAT, ALERTS, INDEX, "open sesame"):
        assert secret not in shown


def test_a_second_monitor_installs_from_an_index_and_has_settings_of_its_own(watched: Mesh) -> None:
    for node in NODES:
        watched.await_healthy(node, watched.second)
    for monitor, seconds in ((watched.guard, 2), (watched.second, 3)):
        shown = monitor.out("systemctl cat gpu-mesh-check.timer")
        assert f"OnUnitActiveSec={seconds}s" in shown
    assert "/simple/ansible-core/" in watched.web.requests
    # From here on one of them is enough: which of two repairs a node is another matter.
    watched.second.ssh("systemctl disable --now gpu-mesh.target")


def test_check_mode_on_a_watched_mesh_has_nothing_to_change(watched: Mesh, measured: list[str]) -> None:
    with watched.changed() as inventory:
        del inventory["mesh_monitors"]["hosts"]["second"]  # whose units were just disabled
        play = watched.operator.play("site.yml", "--check", "--diff")
    measured.append(f"site.yml --check again: {play.seconds:.0f} s")
    assert set(play.recap("changed").values()) == {0}, play.printed


def _pid(watched: Mesh, node: str) -> str:
    unit = {"docked": "container", "lent": "lent"}.get(node)
    if unit:
        return watched.shed.out(f"systemctl show {unit} -p MainPID --value")
    return watched.pod.out("pgrep -x ollama || echo 0")


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_ollama_that_fails_is_repaired_in_the_way_of_its_node(
    watched: Mesh, measured: list[str], signal: str
) -> None:
    """All at once: by docker, by a login that was given, and by a command on a pod."""
    nodes = ("docked", "lent", "pod")
    for node in nodes:
        watched.await_healthy(node)
    before = {node: _pid(watched, node) for node in nodes}
    begun = time.monotonic()
    watched.shed.ssh(f"kill -{signal} {before['docked']} {before['lent']}")
    watched.pod.ssh(f"kill -{signal} {before['pod']}")
    for node in nodes:
        machines.await_that(
            lambda node=node: _pid(watched, node) not in ("0", before[node]), 60, f"another process on {node}"
        )
    for node in nodes:
        watched.await_healthy(node)
    measured.append(f"docker, given login and pod, {signal}: all healthy {time.monotonic() - begun:.1f} s")
    machines.await_that(lambda: f"/{ALERTS}" in watched.web.requests, 20, "alerts went where the vault says")


def test_runners_that_a_crashed_ollama_left_behind_are_named_and_end_by_the_command_that_the_docs_show(
    watched: Mesh,
) -> None:
    watched.await_healthy("pod")
    folder = "/opt/lib/ollama"
    watched.pod.ssh(
        f"mkdir -p {folder} && cp /usr/bin/sleep {folder}/llama-server;"
        f" setsid {folder}/llama-server 9999 </dev/null >/dev/null 2>&1 &"
    )
    machines.await_that(lambda: watched.pod.out("pgrep -x llama-server || true"), 10, "it runs")
    left = watched.pod.out("pgrep -x llama-server")
    watched.guard.ssh("gpu-mesh recover pod --force", check=False)
    log = (watched.guard.root / "var/log/gpu-mesh/gpu-mesh.log").read_text()
    assert f"runners without a server hold memory: {left} (" in log
    watched.pod.ssh(f"kill -0 {left}")
    (shown,) = re.findall(r"(?m)^pkill -P 1 .*$", (ROOT / "docs/recovery.md").read_text())
    watched.pod.ssh(shown)
    assert watched.pod.out("pgrep -x llama-server || true") == ""
    assert COMMAND in (ROOT / "docs/provisioning.md").read_text()


_LOGIN = (
    "runuser -u gpu-mesh -- ssh -F none -i /etc/gpu-mesh/ssh/id_ed25519 -o BatchMode=yes"
    " -o UserKnownHostsFile=/etc/gpu-mesh/ssh/known_hosts -o StrictHostKeyChecking=yes"
)


@pytest.mark.parametrize(
    ("command", "permitted"),
    [
        (f"sudo -n docker restart {CONTAINER}", True),
        ("sudo -n docker ps", False),
        ("sudo -n docker restart other", False),
        (f"sudo -n docker restart {CONTAINER} other", False),
        (f"sudo -n docker restart -t 0 {CONTAINER}", False),
        ("sudo -n docker", False),
        ("sudo -n true", False),
        ("docker ps", False),
        ("systemctl restart container.service", False),
        ("systemctl restart lent.service", False),
    ],
)
def test_the_nodes_user_may_restart_its_container_and_nothing_else(
    watched: Mesh, command: str, permitted: bool
) -> None:
    done = watched.guard.ssh(f"{_LOGIN} gpu-mesh@{watched.shed.address} {command}", check=False)
    assert (done.returncode == 0) is permitted, done.stderr


def test_a_node_that_the_operator_may_not_provision_is_left_as_it_was(watched: Mesh) -> None:
    assert "gpu-mesh" not in watched.shed.out("cat /home/keeper/.ssh/authorized_keys")
    assert watched.shed.out("ls /etc/polkit-1/rules.d | grep gpu-mesh") == "50-gpu-mesh-node-sturdy.rules"
    assert watched.pod.out(OURS) in ("", "/var/tmp/gpu-mesh-lease.d"), "but for the lease of a repair"


def test_systemd_itself_restarts_a_crashed_ollama_where_that_is_wanted(
    watched: Mesh, measured: list[str]
) -> None:
    watched.await_healthy("sturdy")
    begun = time.monotonic()
    watched.shed.ssh("kill -KILL $(systemctl show ollama -p MainPID --value)")
    machines.await_that(
        lambda: watched.shed.out("systemctl show ollama -p NRestarts --value") == "1",
        20,
        "systemd restarted it",
    )
    watched.await_healthy("sturdy")
    measured.append(f"drop-in, ollama killed: healthy again {time.monotonic() - begun:.1f} s")
    assert watched.shed.out("systemctl show ollama -p NRestarts --value") == "1"


@pytest.mark.parametrize(
    "command",
    [
        "sudo gpu-mesh status",
        "gpu-mesh validate",
        "gpu-mesh recover --dry-run",
        "gpu-mesh alerts list",
        "gpu-mesh alerts test",
        "gpu-mesh best --model a",
        "systemctl list-timers --no-pager gpu-mesh-logrotate.timer",
        "systemctl start gpu-mesh-logrotate && journalctl --no-pager -u gpu-mesh-logrotate",
        "systemctl start gpu-mesh.target",
        "journalctl --no-pager -u gpu-mesh-check -n 20",
        "journalctl --no-pager -u gpu-mesh-dashboard | grep DASHBOARD",
        "tail /var/log/gpu-mesh/gpu-mesh.log",
    ],
)
def test_the_commands_that_the_readme_shows_work_on_the_monitor(watched: Mesh, command: str) -> None:
    watched.await_healthy("sturdy")
    done = watched.guard.ssh(command, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or command.startswith("systemctl start")


REFUSED = re.compile(
    "permission denied|not permitted|command not found|syntax error|unrecognized|usage:|no such file|may not"
    "|currently not seeing messages|terminal is required|unreachable|failed|traceback",
    re.IGNORECASE,
)
"""What a command says that cannot be typed as it stands."""


def typed(watched: Mesh) -> set[tuple[str, str]]:
    """Return the commands of all next steps, each with the name of the machine on which it is to be typed."""
    machine = {"docked": "shed", "lent": "shed", "sturdy": "shed", "pod": "pod"}
    found = set()
    for node, step in json.loads(provision.run(watched.guard, "next_steps.py")):
        for part, is_command in with_commands(step):
            there = re.search(r"docker|lease|(journalctl|systemctl)(?!.* gpu-mesh)", part)
            if is_command:
                found.add((machine[node] if there else "guard", part))
    return found


def test_every_command_of_a_next_step_can_be_typed_where_it_is_read(watched: Mesh) -> None:
    """As admin, who is not root and may use sudo; of nodes that are well."""
    for node in NODES:
        watched.await_healthy(node)
    # These need what is not here: a GPU and its driver, a user's systemd, and below, on the pod, any systemd.
    lacking = re.compile(r"nvidia|NVRM|lspci|--user")
    commands = {each for each in typed(watched) if not lacking.search(each[1])}
    for program in ("ansible", "docker", "gpu-mesh", "journalctl", "rm", "ss", "systemctl"):
        assert any(program in command for _, command in commands), program
    machines_of = {"guard": watched.guard, "shed": watched.shed, "pod": watched.pod}
    wrong = {}
    for name, command in sorted(commands):
        if name == "pod" and "systemctl" in command:
            continue
        if "sudo rm" in command:
            machines_of[name].ssh(
                f"sudo install -d {command.split()[-1].replace('[.@]*', '.1')}", user="admin"
            )
        done = machines_of[name].ssh(command, user="admin", check=False)
        shows = done.stdout.strip() not in ("", "-- No entries --") or re.search("systemctl|rm", command)
        if "there is nothing to acknowledge" in done.stderr:  # of a node that is well
            continue
        if done.returncode not in (0, 1) or REFUSED.search(done.stderr) or not shows:
            wrong[name, command] = f"{done.returncode}: {done.stdout[-200:]}{done.stderr[-300:]}"
    assert not wrong, "\n".join(f"{place}: {said}" for place, said in wrong.items())


def test_without_a_right_of_ones_own_a_command_says_which_one_works(watched: Mesh) -> None:
    refused = watched.guard.ssh("gpu-mesh status", user="admin", check=False)
    assert refused.returncode == 3
    (advised,) = re.findall(r"(sudo (?:-u \S+ )?gpu-mesh status)", refused.stderr) or [refused.stderr]
    for command in (advised, "sudo gpu-mesh status"):
        shown = watched.guard.ssh(command, user="admin", check=False)
        assert "sturdy" in shown.stdout, shown.stderr


def test_over_ssh_sudo_asks_in_the_terminal_that_ssh_t_gives(watched: Mesh) -> None:
    guard = watched.guard
    guard.ssh(
        "useradd -m -s /bin/bash careful && echo careful:s3cret | chpasswd && cp -r /root/.ssh /home/careful/"
        " && chown -R careful: /home/careful/.ssh && echo 'careful ALL=(ALL) ALL' >/etc/sudoers.d/careful"
    )
    without = guard.ssh("sudo gpu-mesh status", user="careful", check=False)
    assert "a terminal is required" in without.stderr
    (shown,) = re.findall(r"(?m)^ssh (-t) MONITOR (sudo gpu-mesh status)", (ROOT / "README.md").read_text())
    ours, theirs = os.openpty()
    words = ["ssh", "-F", guard.site.ssh_config, "-S", "none", shown[0], f"careful@{guard.name}", shown[1]]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True):
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # the terminal ends with the program
            while more := os.read(ours, 4096):
                said += more
                if said.endswith(b"password for careful: "):
                    os.write(ours, b"s3cret\n")
    os.close(ours)
    assert b"sturdy" in said, said


def test_a_node_with_an_old_polkit_is_refused_with_the_reason(watched: Mesh) -> None:
    old = watched.shed.root / "usr/local/bin/pkaction"
    old.write_text("#!/bin/sh\necho pkaction version 0.105\n")
    old.chmod(0o755)
    play = watched.operator.play("playbooks/nodes.yml", "-l", "guard,sturdy", check=False)
    old.unlink()
    assert play.code != 0
    assert "sturdy: polkit 0.105, and 0.106 or newer is needed" in play.said
