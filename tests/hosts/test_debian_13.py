"""The same roles on the next Debian: newer systemd, polkit, Python and sshd. An upgrade, and back."""

import itertools
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import machines
import provision
import pytest
from failing import fail_and_mend

from checkout import PROGRAMS
from gpu_mesh import __version__
from gpu_mesh.domain.state import SCHEMA

NEWER, NEWEST = "99.0.0", "100.0.0"
LOG = "/var/log/gpu-mesh/gpu-mesh.log"
STATE = "/var/lib/gpu-mesh/state.json"


class Mesh:
    """A monitor, and a host with two nodes: one behind a tunnel, and a spare one that nobody repairs."""

    def __init__(self, site: machines.Site, operator: provision.Operator, mail: provision.Mailbox) -> None:
        self.operator = operator
        self.mail = mail
        self.monitor, self.node = site.boot("monitor13", "node13", release="trixie")
        self.wheels = provision.wheels(site, "313")

    def await_status(self, node: str, wanted: str) -> None:
        machines.await_that(
            lambda: provision.status(self.monitor).get(node, {}).get("status") == wanted,
            60,
            f"{node} is {wanted}",
        )

    def await_tick(self) -> None:
        """Wait until one more check has been made than there are now."""
        counted = f"grep -c 'event=check node=node13' {LOG}"
        before = int(self.monitor.out(counted))
        machines.await_that(lambda: int(self.monitor.out(counted)) > before, 30, "another check")

    def play(
        self, checkout: Path, wheels: Path, playbook: str = "site.yml", *more: str, check: bool = True
    ) -> provision.Play:
        """Run that checkout's playbook with that folder of wheels."""
        self.operator.checkout = checkout
        monitors = self.operator.inventory["mesh_monitors"]["hosts"]
        monitors["monitor13"]["mesh_monitor_wheels"] = str(wheels)
        return self.operator.play(playbook, *more, check=check)

    def version(self) -> tuple[str, str]:
        """Return the version of the command, and the one of the unit that checked last."""
        command = self.monitor.out("gpu-mesh --version").removeprefix("gpu-mesh ")
        unit = self.monitor.out(
            'grep -oh \'"version":"[^"]*\' /var/lib/gpu-mesh/cache/mesh-*.json | head -n 1'
        )
        return command, unit.rpartition('"')[2]


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "trixie")
    with provision.mailbox(site.address) as (mail, port):
        made = Mesh(site, operator, mail)
        provision.install_ollama(made.node, "127.0.0.1")
        provision.install_ollama(made.node, "0.0.0.0", unit="spare", port=11435)
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls:\n  - mailto://{site.address}:{port}?from=mesh@example.net&to=ops@example.net:\n"
            "      tag: [info, warning, error, critical]\n"
        )
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {
                    "monitor13": {
                        "ansible_host": made.monitor.address,
                        "mesh_monitor_wheels": str(made.wheels),
                        "mesh_monitor_apprise_source": str(apprise),
                        "mesh_monitor_check_interval": 2,
                        "mesh_monitor_recover_interval": 5,
                        "mesh_monitor_stats_interval": 5,
                        "mesh_monitor_recovery_brake": 0,  # one of two nodes that fails is half the mesh
                    }
                }
            },
            "mesh_nodes": {
                "hosts": {
                    "node13": {
                        "ansible_host": made.node.address,
                        "mesh_node_restart_after_crash": False,
                        "mesh_tunnel_host": made.node.address,
                        "mesh_tunnel_local_port": 8080,
                    },
                    "spare": {
                        "ansible_host": made.node.address,
                        "mesh_node_url": f"http://{made.node.address}:11435",
                        "mesh_node_recovery": "none",
                        "mesh_node_unhealthy_threshold": 2,
                        "mesh_node_offline_threshold": 3,
                    },
                },
                "vars": {"mesh_node_timeout": 2},
            },
        }
        yield made
        for machine in (made.monitor, made.node):
            machine.halt()


def test_debian_13_is_provisioned_watched_and_repaired(mesh: Mesh, measured: list[str]) -> None:
    monitor, node = mesh.monitor, mesh.node
    mesh.operator.play("site.yml")
    mesh.await_status("node13", "healthy")
    for unit in ("gpu-mesh-check", "gpu-mesh-deliver", "gpu-mesh-recover", "gpu-mesh-tunnel@node13"):
        line = monitor.out(f"systemd-analyze security --no-pager {unit}.service | tail -n 1")
        assert float(line.split(":")[1].split()[0]) <= 2.0, line
    fail_and_mend(monitor, "gpu-mesh-stats")
    shown = "systemctl show ollama -p MainPID --value"
    before, begun = node.out(shown), time.monotonic()
    node.ssh(f"kill -KILL {before}")
    machines.await_that(lambda: node.out(shown) not in ("0", before), 60, "Ollama has another process")
    mesh.await_status("node13", "healthy")
    measured.append(f"Debian 13, ollama killed: serving again {time.monotonic() - begun:.1f} s")
    monitor.reboot()
    mesh.await_tick()
    mesh.await_status("node13", "healthy")


class Lived:
    """What the mesh of the version before knows when it is upgraded."""

    def __init__(self, mesh: Mesh, checkout: Path) -> None:
        self.mesh = mesh
        self.checkout = checkout
        self.told = list(mesh.mail.subjects)
        self.begun = mesh.monitor.out("date +%s")
        self.first_line = mesh.monitor.out(f"head -n 1 {LOG}")
        self.checks = self.counted()

    def counted(self) -> int:
        """Return how often node13 has been checked since it was first seen."""
        read = f"import json; print(json.load(open('{STATE}'))['nodes']['node13']['checks'])"
        return int(self.mesh.monitor.out(f"python3 -c {shlex.quote(read)}"))

    def assert_undisturbed(self) -> None:
        """Assert that no unit has failed and that nothing that was known is lost."""
        monitor = self.mesh.monitor
        assert monitor.out("systemctl list-units --failed --no-legend") == ""
        journal = monitor.out(f"journalctl --since @{self.begun} -o cat -t systemd")
        assert [line for line in journal.splitlines() if "gpu-mesh" in line and "ailed" in line] == []
        assert "new fan" in monitor.out("gpu-mesh silence list")
        assert monitor.out(f"head -n 1 {LOG}") == self.first_line
        assert self.counted() > self.checks
        assert monitor.out(f"grep -c 'event=status node=spare .*now=offline' {LOG}") == "1"

    def longest_pause(self) -> float:
        """Return the longest time between two checks, in seconds."""
        lines = self.mesh.monitor.out(f"grep 'event=check node=node13' {LOG}").splitlines()
        times = [datetime.fromisoformat(line.split()[0].removeprefix("ts=")).timestamp() for line in lines]
        times = [at for at in times if at >= float(self.begun)]
        return max(after - before for before, after in itertools.pairwise(times))


@pytest.fixture(scope="module")
def lived(site: machines.Site, mesh: Mesh) -> Lived:
    """A node offline, the alert of it waiting for a mail server, the other one silenced; a later version."""
    mesh.await_status("spare", "healthy")
    waits = f"import json; print(any(not a.get('done') for a in json.load(open('{STATE}'))['alerts']))"
    machines.await_that(
        lambda: mesh.monitor.out(f"python3 -c {shlex.quote(waits)}") == "False",
        90,
        "all alerts are delivered",
    )
    mesh.mail.closed = True
    made = Lived(mesh, provision.newer(site, NEWER))
    mesh.monitor.ssh("gpu-mesh silence add node13 --for 1h --reason 'new fan'")
    mesh.node.ssh("systemctl stop spare")
    mesh.await_status("spare", "offline")
    return made


def test_an_upgrade_that_fails_leaves_the_old_version_running(
    site: machines.Site, lived: Lived, measured: list[str]
) -> None:
    mesh = lived.mesh
    spoilt = site.folder / "wheels-spoilt"
    shutil.copytree(mesh.wheels, spoilt)
    (wheel,) = spoilt.glob("msgspec-*")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    play = mesh.play(lived.checkout, spoilt, check=False)
    assert play.code != 0
    said = f"gpu-mesh {NEWER} could not be installed; nothing was changed, and what ran before runs on."
    assert said in play.said, play.printed
    assert "PACKAGES DO NOT MATCH THE HASHES" in play.said, play.printed
    assert re.search(r" msgspec==\S+ from file:\S+msgspec-", play.said), play.printed
    nodes = mesh.operator.inventory["mesh_nodes"]["hosts"]
    nodes["node13"]["mesh_node_timeot"] = 3
    play = mesh.play(lived.checkout, mesh.wheels, check=False)
    del nodes["node13"]["mesh_node_timeot"]
    assert play.code != 0
    assert "The inventory has mistakes; nothing was changed, and what ran before runs on." in play.said
    assert "did you mean mesh_node_timeout?" in play.said
    measured.append(f"upgrade that is refused for a mistake in the inventory: {play.seconds:.0f} s")
    mesh.await_tick()
    assert mesh.version() == (__version__, __version__)
    assert mesh.monitor.out("ls /etc/gpu-mesh | grep new || true") == ""
    lived.assert_undisturbed()


OLD = "0a1b2c3d"


def test_an_upgrade_keeps_what_is_known_while_the_checks_go_on(lived: Lived, measured: list[str]) -> None:
    mesh = lived.mesh
    # As a version left it that knew no readers.
    mesh.monitor.ssh(
        f"cd /var/lib/gpu-mesh && echo hunter2 >mesh-{OLD}.json && chown gpu-mesh: mesh-{OLD}.json"
        " && chmod 644 *.lock && for f in . /var/log/gpu-mesh; do chown -R :gpu-mesh $f; chmod 0700 $f; done"
    )
    play = mesh.play(lived.checkout, mesh.wheels)
    mesh.await_tick()
    assert mesh.version() == (NEWER, NEWER)
    lived.assert_undisturbed()
    pause = lived.longest_pause()
    measured.append(
        f"upgrade by site.yml: {play.seconds:.0f} s, longest time between two checks {pause:.1f} s"
    )
    assert set(mesh.play(lived.checkout, mesh.wheels).recap("changed").values()) == {0}
    kept = mesh.monitor.out("ls /opt/gpu-mesh").split()
    assert kept == ["package.tar", "packed", "venv", "venv.a", "venv.b"]
    assert mesh.mail.subjects == lived.told
    shown = "stat -c '%a %G' /var/lib/gpu-mesh /var/lib/gpu-mesh/state.json /var/log/gpu-mesh/gpu-mesh.log"
    readers = "gpu-mesh-readers"
    assert mesh.monitor.out(shown).splitlines() == [f"2750 {readers}", f"640 {readers}", f"640 {readers}"]
    assert mesh.monitor.out("stat -c '%a' /var/lib/gpu-mesh/state.lock") == "600"
    assert mesh.monitor.out(f"ls /var/lib/gpu-mesh/*{OLD}* 2>/dev/null || true") == ""


def test_a_way_back_to_the_version_before_takes_over_what_the_newer_one_knows(
    lived: Lived, measured: list[str]
) -> None:
    mesh = lived.mesh
    later = f"grep -c '\"later\":7' {STATE} || true"
    assert mesh.monitor.out(later) == "1"
    play = mesh.play(provision.ROOT, mesh.wheels, "playbooks/monitor.yml")
    measured.append(f"back to the version before by monitor.yml: {play.seconds:.0f} s")
    mesh.await_tick()
    assert mesh.version() == (__version__, __version__)
    assert mesh.monitor.out(later) == "0"
    lived.assert_undisturbed()
    mesh.mail.closed = False
    machines.await_that(
        lambda: mesh.monitor.out("gpu-mesh deliver --now") == "Every alert is delivered.", 90, "a delivery"
    )
    machines.await_that(lambda: mesh.mail.subjects != lived.told, 90, "the alert that waited arrives")
    mesh.node.ssh("systemctl start spare")
    mesh.await_status("spare", "healthy")
    machines.await_that(
        lambda: any("INFO] spare:" in subject for subject in mesh.mail.subjects), 90, "a mail that it is well"
    )
    arrived = mesh.mail.subjects[len(lived.told) :]
    assert [subject.partition(":")[0] for subject in arrived] == ["🚨 [CRITICAL] spare", "ℹ️ [INFO] spare"]


LET_GO = "rm -r /run/held /etc/systemd/system/gpu-mesh-recover.service.d; systemctl daemon-reload"


def test_a_version_that_writes_the_state_otherwise_waits_until_nothing_uses_it(
    site: machines.Site, lived: Lived, measured: list[str]
) -> None:
    mesh, checkout = lived.mesh, provision.newer(site, NEWEST, schema=SCHEMA + 1)
    monitor = mesh.monitor
    monitor.ssh((PROGRAMS / "hold_recovery.sh").read_text())
    waits = ("playbooks/monitor.yml", "-e", "__mesh_monitor_patience=10")
    play = mesh.play(checkout, mesh.wheels, *waits, check=False)
    assert play.code != 0
    assert "monitor13: gpu-mesh-recover.service still runs after 10 s, and the new" in play.said, play.printed
    mesh.await_tick()
    assert mesh.version() == (__version__, __version__)
    monitor.ssh(LET_GO)
    play = mesh.play(checkout, mesh.wheels, "playbooks/monitor.yml")
    measured.append(f"upgrade to another state by monitor.yml: {play.seconds:.0f} s")
    mesh.await_tick()
    assert mesh.version() == (NEWEST, NEWEST)
    assert monitor.out(f"grep -c '\"schema\":2' {STATE}") == "1"
    lived.assert_undisturbed()


def test_the_way_back_from_it_delivers_what_waits_and_says_what_is_lost(lived: Lived) -> None:
    mesh = lived.mesh
    mesh.mail.closed = True
    mesh.node.ssh("systemctl stop spare")
    mesh.await_status("spare", "offline")
    mesh.mail.closed, told = False, len(mesh.mail.subjects)
    play = mesh.play(provision.ROOT, mesh.wheels, "playbooks/monitor.yml")
    assert "Alerts that waited: Every alert is delivered." in play.said, play.printed
    assert any("CRITICAL] spare" in subject for subject in mesh.mail.subjects[told:])
    (aside,) = mesh.monitor.out("ls -d /var/lib/gpu-mesh/state.schema-2-*").splitlines()
    assert "new fan" in mesh.monitor.out(f"cat {aside}")
    assert f"while gpu-mesh.target is stopped: mv {aside} {STATE}" in play.said, play.printed
    mesh.await_tick()
    assert mesh.version() == (__version__, __version__)
    mesh.await_status("node13", "healthy")
    assert "new fan" not in mesh.monitor.out("gpu-mesh silence list")
    assert mesh.monitor.out("systemctl list-units --failed --no-legend") == ""
