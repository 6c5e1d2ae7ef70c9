"""One run of site.yml makes a watched mesh of three machines; then everything fails that can."""

import contextlib
import copy
import re
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import machines
import provision
import pytest
from failing import fail_and_mend

SCHEDULES = {"check": 2, "recover": 5, "stats": 5, "dashboard": 5}
EXPOSURE = 1.5  # the most that `systemd-analyze security` may say of a unit


class Mesh:
    """A monitor, a plain node, a node reached through a tunnel; and who gets the mail."""

    def __init__(self, site: machines.Site, operator: provision.Operator, mail: provision.Mailbox) -> None:
        self.operator = operator
        self.mail = mail
        self.monitor, self.plain, self.rented = site.boot("monitor", "plain", "rented")

    def status(self, node: str) -> str:
        return str(provision.status(self.monitor).get(node, {}).get("status"))

    def await_healthy(self, seconds: float = 60) -> None:
        for node in ("plain", "rented"):
            machines.await_that(
                lambda node=node: self.status(node) == "healthy", seconds, f"{node} is healthy"
            )

    def await_mail(self, node: str, word: str, since: int, seconds: float) -> int:
        """Wait for a mail after that many; returns how many there were when it had come."""

        def at() -> int:
            subjects = enumerate(self.mail.subjects[since:], since + 1)
            return next((number for number, subject in subjects if f"{word}] {node}:" in subject), 0)

        try:
            machines.await_that(at, seconds, f"a mail with [{word}] about {node}")
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {self.mail.subjects[since:]}") from None
        return at()

    def await_quiet(self) -> None:
        """Wait until nothing is being repaired or sent.

        A repair of the fault before would mend the next one, too; and Apprise pauses between two mails, so
        that what waits is merged.
        """
        for unit in ("recover", "deliver"):
            state = f"systemctl show gpu-mesh-{unit} -p ActiveState --value"
            machines.await_that(
                lambda state=state: self.monitor.out(state) == "inactive", 120, f"gpu-mesh-{unit} has ended"
            )


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "system")
    with provision.mailbox(site.address) as (mail, port):
        made = Mesh(site, operator, mail)
        provision.install_ollama(made.plain, "0.0.0.0")
        provision.install_ollama(made.rented, "127.0.0.1")
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls:\n  - mailto://{site.address}:{port}?from=mesh@example.net&to=ops@example.net:\n"
            "      tag: [info, warning, error, critical]\n"
        )
        alertmanagers = operator.folder / "alertmanager.yml"
        alertmanagers.write_text("alertmanagers: [] # of the Alertmanagers\n")
        settings = {f"mesh_monitor_{name}_interval": seconds for name, seconds in SCHEDULES.items()}
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {
                    "monitor": {
                        "ansible_host": made.monitor.address,
                        "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                        "mesh_monitor_apprise_source": str(apprise),
                        "mesh_monitor_alertmanager_source": str(alertmanagers),
                        "mesh_monitor_recovery_backoff": 5,
                        "mesh_monitor_flapping": False,  # the tests make it fail again and again
                        **settings,
                    }
                }
            },
            "mesh_nodes": {
                "hosts": {
                    "plain": {"ansible_host": made.plain.address},
                    "rented": {
                        "ansible_host": made.rented.address,
                        "mesh_tunnel_host": made.rented.address,
                        "mesh_tunnel_local_port": 8080,
                    },
                },
                "vars": {"mesh_node_timeout": 2},
            },
        }
        yield made
        for machine in (made.monitor, made.plain, made.rented):
            machine.halt()


@pytest.mark.parametrize("tag", ["configure", "run"])
def test_a_tag_that_needs_more_on_a_new_machine_says_what_comes_first_and_does_nothing(
    mesh: Mesh, tag: str
) -> None:
    play = mesh.operator.play("site.yml", "--tags", tag, check=False)
    assert play.code != 0
    assert (
        f"not there yet, so the tags {tag} alone have nothing to work on; run it once without --tags"
        in play.said
    )
    assert mesh.monitor.out("find / -xdev -name '*gpu-mesh*'; getent group gpu-mesh-readers; true") == ""


@pytest.fixture(scope="module")
def watched(mesh: Mesh, measured: list[str]) -> Mesh:
    """The mesh after the first site.yml."""
    play = mesh.operator.play("site.yml", "--diff")
    measured.append(f"site.yml from nothing: {play.seconds:.0f} s")
    assert "hunter2" not in play.printed
    assert play.faults == []
    made = play.said.partition("Say what there is, and what comes next")[2]
    for said in (
        "monitor watches 2 nodes, every 2 s: plain, rented",
        "Alerts go to 1 URL: critical to 1, error to 1, warning to 1, info to 1",
        f"Next: ssh -t admin@{mesh.monitor.address} sudo gpu-mesh status ssh -t",
    ):
        assert said in made, play.printed
    mesh.await_healthy()
    return mesh


def test_one_run_of_the_playbook_makes_every_node_healthy(watched: Mesh) -> None:
    shown = watched.monitor.out("gpu-mesh status; true")
    assert shown.startswith("The monitor runs: "), shown
    assert "plain" in shown
    assert "rented" in shown


def test_a_second_run_changes_nothing(watched: Mesh, measured: list[str]) -> None:
    play = watched.operator.play("site.yml", "--diff")
    measured.append(f"site.yml again: {play.seconds:.0f} s")
    assert set(play.recap("changed").values()) == {0}, play.printed
    assert play.faults == []


@pytest.mark.parametrize("tag", ["install", "configure", "run"])
def test_each_tag_alone_changes_nothing_and_says_what_there_is(watched: Mesh, tag: str) -> None:
    play = watched.operator.play("site.yml", "--tags", tag)
    assert set(play.recap("changed").values()) == {0}, play.printed
    assert play.faults == []
    assert "monitor watches 2 nodes" in play.said, play.printed


@pytest.fixture(scope="module")
def people(watched: Mesh) -> Mesh:
    """Anna, who may look, and otto, whom nobody has asked."""
    watched.monitor.ssh("useradd anna && useradd otto && usermod -aG gpu-mesh-readers anna")
    return watched


def _as(mesh: Mesh, person: str, command: str) -> tuple[int, str]:
    done = mesh.monitor.ssh(f"runuser -u {person} -- {command}", check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_member_of_the_readers_group_sees_what_root_sees(people: Mesh) -> None:
    code, said = _as(people, "anna", "gpu-mesh status")
    assert (code, said.startswith("The monitor runs: ")) == (0, True), said
    assert "cannot" not in said
    for command in (
        "gpu-mesh best",
        "gpu-mesh stats",
        "gpu-mesh dashboard",
        "gpu-mesh alerts list",
        "gpu-mesh silence list",
        "tail -n 1 /var/log/gpu-mesh/gpu-mesh.log",
    ):
        code, said = _as(people, "anna", command)
        assert (code, "ermission" in said, "cannot" in said) == (0, False, False), said
    people.monitor.ssh("umask 077; gpu-mesh silence add plain --for 5m --reason 'new fan'")
    assert "new fan" in _as(people, "anna", "gpu-mesh silence list")[1]
    people.monitor.ssh("gpu-mesh silence end 1")


def test_a_reader_may_not_act_and_others_not_even_look_and_both_are_told_what_to_type(people: Mesh) -> None:
    silence = "gpu-mesh silence add plain --for 2h --reason 'new fan'"
    told = f"gpu-mesh: only root and gpu-mesh may do this: sudo {silence}"
    assert _as(people, "anna", silence) == (2, told)
    join = "sudo usermod -aG gpu-mesh-readers otto, then log in again"
    may_look = f"only root and the group gpu-mesh-readers ({join}) may look at this monitor"
    assert _as(people, "otto", "gpu-mesh status") == (3, f"gpu-mesh: {may_look}: sudo gpu-mesh status")


@pytest.mark.parametrize("person", ["anna", "otto"])
def test_neither_readers_nor_others_come_near_a_secret_or_a_lock(people: Mesh, person: str) -> None:
    everything = "find /etc/gpu-mesh /var/lib/gpu-mesh /var/log/gpu-mesh"
    readable = set(_as(people, person, f"{everything} -type f -readable 2>/dev/null")[1].splitlines())
    folder = "/var/lib/gpu-mesh"
    shown = {f"{folder}/{name}.json" for name in ("state", "state.previous", "mesh")}
    if person == "anna":
        assert shown | {"/var/log/gpu-mesh/gpu-mesh.log"} <= readable
    else:
        assert not {path for path in readable if path.startswith("/var")}
    public = {"environment", "logrotate.conf", "ssh_config"}
    assert {path.removeprefix("/etc/gpu-mesh/") for path in readable if path.startswith("/etc")} <= public
    assert {path for path in readable if "cache" in path or "lock" in path} == set()
    assert _as(people, person, f"{everything} -writable -not -type l 2>/dev/null")[1] == ""


def test_what_is_new_in_state_and_log_is_the_readers_too(people: Mesh) -> None:
    rotate = (
        "/usr/sbin/logrotate --force --state /var/lib/gpu-mesh/logrotate.status /etc/gpu-mesh/logrotate.conf"
    )
    run = "/run/systemd/system/gpu-mesh-logrotate.service.d"
    people.monitor.ssh(
        f"mkdir -p {run} && printf '[Service]\nExecStart=\nExecStart={rotate}\n' >{run}/try.conf"
        " && systemctl daemon-reload && systemctl start gpu-mesh-logrotate;"
        f" rm -r {run}; systemctl daemon-reload"
    )
    shown = (
        "stat -c '%a %U %G %n' /var/log/gpu-mesh/* /var/lib/gpu-mesh/state.json /var/lib/gpu-mesh/mesh.json"
    )
    lines = people.monitor.out(shown).splitlines()
    assert len(lines) == 4, lines
    assert {line.rpartition(" ")[0] for line in lines} == {"640 gpu-mesh gpu-mesh-readers"}, lines
    tail = "tail -n 1 /var/log/gpu-mesh/gpu-mesh.log"
    machines.await_that(lambda: "event=" in _as(people, "anna", tail)[1], 20, "a line in the new log")


def test_the_page_is_the_readers_and_nobody_elses(people: Mesh) -> None:
    page = "/var/lib/gpu-mesh/www/index.html"
    there = f"test -s {page}"
    machines.await_that(lambda: people.monitor.ssh(there, check=False).returncode == 0, 90, "a page")
    assert people.monitor.out(f"stat -c '%a %U %G' {page}") == "640 gpu-mesh gpu-mesh-readers"
    assert _as(people, "anna", f"grep -c DOCTYPE {page}") == (0, "1")
    assert _as(people, "otto", f"cat {page}")[0] != 0
    assert people.monitor.out("ls -A /var/lib/gpu-mesh-public") == "", "nothing is public by itself"


@pytest.mark.parametrize("unit", ["gpu-mesh-stats", "gpu-mesh-check"])
def test_a_unit_that_fails_is_told_of_with_its_last_words_and_again_when_it_works(
    watched: Mesh, unit: str
) -> None:
    fail_and_mend(watched.monitor, unit)
    failed = f"[ERROR] GPU mesh: {unit}.service failed"
    machines.await_that(lambda: any(failed in subject for subject in watched.mail.subjects), 20, "a mail")


def test_every_schedule_ticks(watched: Mesh) -> None:
    for name in SCHEDULES:
        shown = f"systemctl show gpu-mesh-{name}.service -p ExecMainStartTimestampMonotonic --value"
        before = watched.monitor.out(shown)
        machines.await_that(
            lambda shown=shown, before=before: watched.monitor.out(shown) != before, 30, f"{name} runs again"
        )
    assert "DASHBOARD" in watched.monitor.out("journalctl -b -u gpu-mesh-dashboard -o cat | grep DASHBOARD")
    assert watched.monitor.out("systemctl show gpu-mesh-check.timer -p AccuracyUSec --value") == "1s"


def test_the_units_are_sound_and_have_hardly_any_rights(watched: Mesh, measured: list[str]) -> None:
    found = watched.monitor.ssh(
        "cd /etc/systemd/system && systemd-analyze verify $(ls -d gpu-mesh* | grep -v wants) 2>&1"
    )
    assert found.stdout == ""
    exposures = {}
    for name in (*provision.SERVICES, "tunnel@rented"):
        line = watched.monitor.out(f"systemd-analyze security --no-pager gpu-mesh-{name}.service | tail -n 1")
        exposures[name] = float(line.split(":")[1].split()[0])
    measured.append("systemd-analyze security: " + ", ".join(f"{name} {e}" for name, e in exposures.items()))
    assert max(exposures.values()) <= EXPOSURE, exposures


@pytest.mark.parametrize(
    ("unit", "secrets"),
    [
        ("check", ("apprise.yml", "alertmanager.yml", "ssh/id_ed25519")),
        ("stats", ("apprise.yml", "alertmanager.yml", "ssh/id_ed25519")),
        ("deliver", ("ssh/id_ed25519",)),
        ("recover", ("apprise.yml", "alertmanager.yml")),
        ("look", ("apprise.yml", "alertmanager.yml")),
        ("look-here", ("apprise.yml", "alertmanager.yml", "ssh/id_ed25519")),
        ("tunnel@rented", ("apprise.yml", "alertmanager.yml")),
    ],
)
def test_a_unit_cannot_read_the_secrets_of_another(
    watched: Mesh, unit: str, secrets: tuple[str, ...]
) -> None:
    """The unit's own sandbox, with another program in it; by the plain way, and round by another process."""
    run = f"/run/systemd/system/gpu-mesh-{unit}.service.d"
    paths = " ".join(f"/etc/gpu-mesh/{secret}" for secret in secrets)
    around = f"for p in /proc/[0-9]*; do cd $p/root 2>/dev/null && cat .{paths.replace(' /', ' ./')}; done"
    tries = f"cat {paths}; {around}".replace("$", "$$")
    watched.monitor.ssh(
        f"mkdir -p {run} && printf '[Service]\nExecStartPre=\nExecStart=\n"
        f'ExecStart=-/bin/sh -c "({tries}) >&2; id -un >&2; echo tried >&2"\n\' >{run}/try.conf'
        f" && systemctl stop gpu-mesh-{unit} && systemctl daemon-reload"
        f" && systemctl start gpu-mesh-{unit}; sleep 1; rm -r {run}; systemctl daemon-reload;"
        f" systemctl restart gpu-mesh-{unit}"
    )
    said = watched.monitor.out(f"journalctl -b -u gpu-mesh-{unit} -o cat -n 60")
    assert "tried" in said
    assert "gpu-mesh" in said.splitlines()
    assert "PRIVATE KEY" not in said
    assert "mailto" not in said
    assert "of the Alertmanagers" not in said


def _kill(machine: machines.Machine) -> None:
    machine.ssh("kill -KILL $(systemctl show ollama -p MainPID --value)")


def _stop(machine: machines.Machine) -> None:
    machine.ssh("systemctl stop ollama")


def _hang(machine: machines.Machine) -> None:
    machine.ssh("kill -STOP $(systemctl show ollama -p MainPID --value)")


@pytest.mark.parametrize(
    ("node", "fault"),
    [("plain", _kill), ("plain", _stop), ("plain", _hang), ("rented", _kill), ("rented", _hang)],
)
def test_ollama_that_fails_is_noticed_told_of_restarted_over_ssh_and_well_again(
    watched: Mesh, measured: list[str], node: str, fault: Callable[[machines.Machine], None]
) -> None:
    watched.await_healthy()
    watched.await_quiet()
    machine = {"plain": watched.plain, "rented": watched.rented}[node]
    before = machine.out("systemctl show ollama -p MainPID --value")
    mails, begun = len(watched.mail.subjects), time.monotonic()
    fault(machine)
    mails = watched.await_mail(node, "WARNING", mails, 30)
    warned = time.monotonic() - begun
    mails = watched.await_mail(node, "ERROR", mails, 60)
    told = time.monotonic() - begun
    machines.await_that(
        lambda: machine.out("systemctl show ollama -p MainPID --value") not in ("0", before),
        60,
        f"ollama.service on {node} has another process than {before}",
    )
    watched.await_mail(node, "INFO", mails, 60)
    well = time.monotonic() - begun
    watched.await_healthy()
    measured.append(
        f"ollama on {node}, {fault.__name__[1:]}: first alert {warned:.1f} s, ERROR {told:.1f} s, "
        f"serving again {well:.1f} s"
    )


def test_a_tunnel_that_is_killed_is_opened_again_by_systemd(watched: Mesh, measured: list[str]) -> None:
    watched.await_healthy()
    _forget_repairs(watched)
    unit = "gpu-mesh-tunnel@rented.service"
    before = watched.monitor.out(f"systemctl show {unit} -p MainPID --value")
    begun = time.monotonic()
    watched.monitor.ssh(f"kill -KILL {before}")
    machines.await_that(lambda: _listens(watched.monitor, 8080), 30, "the tunnel's port is listening again")
    assert watched.monitor.out(f"systemctl show {unit} -p MainPID --value") != before
    watched.await_healthy()
    measured.append(f"tunnel killed: healthy again {time.monotonic() - begun:.1f} s")


def _close(mesh: Mesh) -> None:
    mesh.monitor.ssh("systemctl stop gpu-mesh-tunnel@rented")


def _swallow(mesh: Mesh) -> None:
    """Drop the packets of the connection that the tunnel has now, and of no other."""
    pid = mesh.monitor.out("systemctl show gpu-mesh-tunnel@rented -p MainPID --value")
    # To the ssh server alone: while a check asks through the tunnel, its process holds that connection, too.
    line = mesh.monitor.out(f"ss -Htnp state established dport = :22 | grep pid={pid},")
    port = line.split()[2].rpartition(":")[2]
    mesh.rented.ssh(
        "nft add table inet swallow && nft 'add chain inet swallow in { type filter hook input priority 0; }'"
        f" && nft add rule inet swallow in tcp sport {port} drop"
    )


def _forget_repairs(mesh: Mesh) -> None:
    """A node that was repaired three times within the hour waits for a person: not what is tested here."""
    provision.run(mesh.monitor, "forget_repairs.py")


@pytest.mark.parametrize("fault", [_close, _swallow])
def test_a_tunnel_that_fails_is_noticed_told_of_rebuilt_and_its_node_well_again(
    watched: Mesh, measured: list[str], fault: Callable[[Mesh], None]
) -> None:
    watched.await_healthy()
    watched.await_quiet()
    unit = "gpu-mesh-tunnel@rented.service"
    before = watched.monitor.out(f"systemctl show {unit} -p MainPID --value")
    ollama = watched.rented.out("systemctl show ollama -p MainPID --value")
    mails, begun = len(watched.mail.subjects), time.monotonic()
    fault(watched)
    mails = watched.await_mail("rented", "WARNING", mails, 30)
    warned = time.monotonic() - begun
    mails = watched.await_mail("rented", "ERROR", mails, 60)
    told = time.monotonic() - begun
    watched.await_mail("rented", "INFO", mails, 90)
    well = time.monotonic() - begun
    assert watched.monitor.out(f"systemctl show {unit} -p MainPID --value") not in ("0", before)
    assert _listens(watched.monitor, 8080)
    watched.await_healthy()
    assert watched.rented.out("systemctl show ollama -p MainPID --value") == ollama, (
        "Ollama was well all along"
    )
    measured.append(
        f"tunnel, {fault.__name__[1:]}: first alert {warned:.1f} s, ERROR {told:.1f} s, "
        f"healthy again {well:.1f} s"
    )


def _listens(machine: machines.Machine, port: int) -> bool:
    return f"127.0.0.1:{port} " in machine.out("ss -Hltn")


@pytest.mark.parametrize(
    ("command", "permitted"),
    [
        ("systemctl restart ollama.service", True),
        ("systemctl start ollama.service", True),
        ("systemctl reset-failed ollama.service", True),
        ("systemctl reset-failed ssh.service", False),
        ("systemctl reset-failed", False),
        ("systemctl stop ollama.service", False),
        ("systemctl disable ollama.service", False),
        ("systemctl mask ollama.service", False),
        ("systemctl edit --full ollama.service", False),
        ("systemctl kill ollama.service", False),
        ("systemctl set-property ollama.service MemoryMax=1G", False),
        ("systemctl restart ssh.service", False),
        ("systemctl daemon-reload", False),
        ("systemctl reboot", False),
        ("systemd-run --wait true", False),
        ("sudo -n true", False),
        ("cat /etc/shadow", False),
    ],
)
def test_the_nodes_user_may_restart_its_unit_and_nothing_else(
    watched: Mesh, command: str, permitted: bool
) -> None:
    done = watched.monitor.ssh(f"{_LOGIN} gpu-mesh@{watched.plain.address} {command}", check=False)
    assert (done.returncode == 0) is permitted, done.stderr


_LOGIN = (
    "runuser -u gpu-mesh -- ssh -F none -i /etc/gpu-mesh/ssh/id_ed25519 -o BatchMode=yes"
    " -o UserKnownHostsFile=/etc/gpu-mesh/ssh/known_hosts -o StrictHostKeyChecking=yes"
)


@pytest.mark.parametrize(
    ("node", "port", "permitted"), [("rented", 11434, True), ("rented", 22, False), ("plain", 11434, False)]
)
def test_the_key_opens_no_forward_but_the_tunnels_own(
    watched: Mesh, node: str, port: int, permitted: bool
) -> None:
    address = {"plain": watched.plain, "rented": watched.rented}[node].address
    asked = (
        "import socket; s = socket.create_connection(('127.0.0.1', 9999), 5); s.settimeout(5);"
        " s.sendall(b'GET /api/version HTTP/1.0\\r\\n\\r\\n'); print(s.recv(20))"
    )
    done = watched.monitor.ssh(
        f"{_LOGIN} -f -o ExitOnForwardFailure=yes -L 127.0.0.1:9999:127.0.0.1:{port} gpu-mesh@{address}"
        ' "sleep 2";'
        f' python3 -c "{asked}"; sleep 2.5',
        check=False,
    )
    assert ("HTTP/1." in done.stdout) is permitted, done.stdout + done.stderr


def test_the_monitors_user_may_restart_its_tunnels_and_nothing_else(watched: Mesh) -> None:
    as_user = "runuser -u gpu-mesh -- systemctl --no-ask-password"
    for permitted in ("restart", "reset-failed"):
        watched.monitor.ssh(f"{as_user} {permitted} gpu-mesh-tunnel@rented.service")
    for refused in (
        "restart ssh.service",
        "stop gpu-mesh-check.timer",
        "disable gpu-mesh-tunnel@rented.service",
    ):
        assert watched.monitor.ssh(f"{as_user} {refused}", check=False).returncode != 0, refused


def test_one_command_stops_disables_enables_and_starts_everything_but_the_tunnels(watched: Mesh) -> None:
    active = (
        "systemctl list-units --no-legend --plain --state=active 'gpu-mesh-*.timer' 'gpu-mesh-*.path' | wc -l"
    )
    assert watched.monitor.out(active) == "12"
    watched.monitor.ssh("systemctl disable --now gpu-mesh.target")
    assert watched.monitor.out(active) == "0"
    assert _listens(watched.monitor, 8080)
    watched.monitor.ssh("systemctl enable --now gpu-mesh.target")
    assert watched.monitor.out(active) == "12"


def test_the_roles_alone_start_their_units(watched: Mesh) -> None:
    watched.monitor.ssh("systemctl disable --now gpu-mesh.target gpu-mesh-tunnel@rented")
    assert not _listens(watched.monitor, 8080)
    alone = watched.operator.folder / "alone.yml"
    alone.write_text("- {hosts: mesh_monitors, gather_facts: false, roles: [mesh_monitor, mesh_tunnel]}\n")
    watched.operator.play(str(alone))
    assert (
        watched.monitor.out("systemctl is-enabled gpu-mesh.target gpu-mesh-check.timer") == "enabled\nenabled"
    )
    assert watched.monitor.out("systemctl is-active gpu-mesh.target gpu-mesh-check.timer") == "active\nactive"
    machines.await_that(lambda: _listens(watched.monitor, 8080), 10, "the tunnel is open")


def test_a_unit_that_fails_is_told_of_once(watched: Mesh) -> None:
    run = "/run/systemd/system/gpu-mesh-dashboard.service.d"
    watched.monitor.ssh(
        f"mkdir -p {run} && printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >{run}/broken.conf"
        " && systemctl daemon-reload"
    )
    said = "journalctl -b -t gpu-mesh-failure -o cat --no-pager"
    told = f"{said} | grep -c '^gpu-mesh-dashboard.service failed' || true"
    machines.await_that(lambda: watched.monitor.out(told) == "1", 20, "the failure is told of")
    runs = "journalctl -b -u gpu-mesh-dashboard -o cat --no-pager | grep -c 'Failed with result' || true"
    machines.await_that(lambda: int(watched.monitor.out(runs)) >= 3, 40, "it failed three times")
    assert watched.monitor.out(told) == "1"
    watched.monitor.ssh(f"rm -r {run}; systemctl daemon-reload; systemctl restart gpu-mesh-dashboard")


def test_a_forced_rotation_loses_nothing_and_compresses_old_logs(watched: Mesh) -> None:
    log = "/var/log/gpu-mesh"
    force = (
        "runuser -u gpu-mesh -- /usr/sbin/logrotate --force --state /var/lib/gpu-mesh/logrotate.status"
        " /etc/gpu-mesh/logrotate.conf"
    )
    # Between checks, so that both counts are of whole ones.
    counts = (
        "systemctl stop gpu-mesh-check.timer;"
        " until [ $(systemctl is-active gpu-mesh-check) = inactive ]; do sleep 0.1; done;"
        f" zcat -f {log}/gpu-mesh.log* | grep -c 'event=check node=plain';"
        " journalctl -b -u gpu-mesh-check -o cat | grep -c ^Finished; systemctl start gpu-mesh-check.timer"
    )
    lines, checks = (int(count) for count in watched.monitor.out(counts).split())
    for _ in range(2):
        watched.monitor.ssh(f"{force} && sleep 3")
    names = watched.monitor.out(f"ls {log}").split()
    names.remove("gpu-mesh.log")
    assert sum(name.endswith(".gz") for name in names) == len(names) - 1 >= 1, names
    lines_then, checks_then = (int(count) for count in watched.monitor.out(counts).split())
    assert checks_then > checks
    assert lines_then - lines == checks_then - checks, "one line a node for each check, across all files"
    watched.monitor.ssh("systemctl start gpu-mesh-logrotate.service")


def test_a_reboot_of_the_monitor_brings_everything_back(watched: Mesh, measured: list[str]) -> None:
    begun = time.monotonic()
    watched.monitor.reboot()
    machines.await_that(lambda: _listens(watched.monitor, 8080), 30, "the tunnel is open")
    watched.await_healthy()
    finished = "journalctl -b -u gpu-mesh-check -o cat | grep -c ^Finished || true"
    machines.await_that(lambda: int(watched.monitor.out(finished)) >= 2, 30, "checks run")
    assert watched.monitor.out("systemctl list-units --failed --no-legend --plain 'gpu-mesh*'") == ""
    measured.append(f"reboot of the monitor: all healthy again {time.monotonic() - begun:.1f} s")


def test_an_inventory_with_mistakes_changes_nothing(watched: Mesh) -> None:
    before = watched.monitor.out("sha256sum /etc/gpu-mesh/inventory/mesh.yml; ls /etc/gpu-mesh")
    with _changed(watched.operator) as inventory:
        inventory["mesh_nodes"]["hosts"]["plain"] |= {"mesh_node_timeout": "soon", "mesh_node_tiemout": 3}
        play = watched.operator.play("playbooks/monitor.yml", check=False)
    assert play.code != 0
    assert "mesh_node_timeout" in play.printed
    assert "mesh_node_tiemout" in play.printed
    assert watched.monitor.out("sha256sum /etc/gpu-mesh/inventory/mesh.yml; ls /etc/gpu-mesh") == before


def test_a_local_port_that_is_taken_is_refused_with_the_name_of_the_process(watched: Mesh) -> None:
    before = watched.monitor.out("sha256sum /etc/gpu-mesh/tunnels/* /etc/gpu-mesh/inventory/mesh.yml")
    watched.monitor.ssh("systemd-run --unit old-tunnel python3 -m http.server --bind 127.0.0.1 8099")
    machines.await_that(lambda: _listens(watched.monitor, 8099), 10, "the old tunnel listens")
    with _changed(watched.operator) as inventory:
        inventory["mesh_nodes"]["hosts"]["rented"]["mesh_tunnel_local_port"] = 8099
        play = watched.operator.play("playbooks/monitor.yml", check=False)
    assert play.code != 0
    assert "old-tunnel.service" in play.printed
    assert "http.server" in play.printed
    assert watched.monitor.out("sha256sum /etc/gpu-mesh/tunnels/* /etc/gpu-mesh/inventory/mesh.yml") == before
    watched.monitor.ssh("systemctl stop old-tunnel")


def test_check_mode_shows_what_would_change_and_changes_nothing(watched: Mesh) -> None:
    kept = "sha256sum /etc/gpu-mesh/inventory/mesh.yml /etc/systemd/system/gpu-mesh-*"
    before = watched.monitor.out(kept)
    with _changed(watched.operator) as inventory:
        inventory["mesh_monitors"]["hosts"]["monitor"]["mesh_monitor_stats_interval"] = 77
        play = watched.operator.play("playbooks/monitor.yml", "--tags", "configure", "--check", "--diff")
    assert "+OnUnitActiveSec=77s" in play.printed
    assert watched.monitor.out(kept) == before


def test_a_node_that_left_the_inventory_is_named_and_what_is_left_of_it_can_be_taken_away(
    watched: Mesh,
) -> None:
    with _changed(watched.operator) as inventory:
        del inventory["mesh_nodes"]["hosts"]["rented"]
        play = watched.operator.play("playbooks/monitor.yml", "--tags", "configure,run")
        command = re.search(
            r"ansible-playbook (playbooks/uninstall.yml -e gpu_mesh_gone=rented .*)", play.printed
        )
        assert command, play.printed
        again = watched.operator.play("playbooks/monitor.yml", "--tags", "configure,run")
        assert "has left" not in again.said
        there = watched.rented.out("getent passwd gpu-mesh; ls /etc/polkit-1/rules.d | grep gpu-mesh")
        assert "50-gpu-mesh-node-rented.rules" in there
        taken = watched.operator.play(*shlex.split(command.group(1)))
    assert not _listens(watched.monitor, 8080)
    assert watched.monitor.out("ls /etc/gpu-mesh/tunnels") == ""
    assert watched.monitor.out("systemctl list-units --all --no-legend 'gpu-mesh-tunnel@*'") == ""
    assert "rented: nothing is left" in taken.said, taken.printed
    assert set(taken.recap("changed")) == {"localhost", "rented"}
    assert watched.rented.out("find / -xdev -name '*gpu-mesh*'; getent passwd gpu-mesh; true") == ""
    assert watched.rented.out("systemctl is-active ollama") == "active"


def test_uninstall_leaves_nothing_behind(watched: Mesh) -> None:
    play = watched.operator.play("playbooks/uninstall.yml")
    left = "/var/lib/gpu-mesh, /var/log/gpu-mesh, the user gpu-mesh, the group gpu-mesh-readers"
    assert f"monitor: left are {left}." in play.said, play.printed
    assert "plain: nothing is left" in play.said, play.printed
    assert watched.monitor.out("ls /var/lib/gpu-mesh/state.json /var/log/gpu-mesh/gpu-mesh.log")
    watched.operator.play("playbooks/uninstall.yml", "-e", "delete_state_and_log=yes")
    for machine in (watched.monitor, watched.plain, watched.rented):
        left = machine.out(
            "find / -xdev -name '*gpu-mesh*'; getent passwd gpu-mesh; getent group gpu-mesh gpu-mesh-readers;"
            " systemctl list-units --all --no-legend 'gpu-mesh*'"
        )
        assert left == "", machine.name
        assert machine is watched.monitor or machine.out("systemctl is-active ollama") == "active"


@contextlib.contextmanager
def _changed(operator: provision.Operator) -> Iterator[dict[str, Any]]:
    """Let a test change the inventory; afterwards it is as it was."""
    kept = copy.deepcopy(operator.inventory)
    try:
        yield operator.inventory
    finally:
        operator.inventory = kept
