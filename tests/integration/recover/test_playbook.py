"""The recovery playbooks, run by the real ansible-runner against real servers and programs on loopback.

systemctl, docker and sudo are small programs of these tests; the real ones are for the host tests.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from factories import plain, served_here
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings, Tunnel
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import playbook, reaper
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning.addresses import of_ollama
from gpu_mesh.standin.server import Standin, free_port
from marks import soak
from sites import end_all_in

RESTART = playbook.find(Action.RESTART_OLLAMA)
REBUILD = playbook.find(Action.REBUILD_TUNNEL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """A function that returns the command which starts an Ollama on that port; it is ended afterwards."""
    pids = tmp_path / "pids"
    yield lambda port: f"sh -c 'echo $$ >>{pids}; exec {sys.executable} -m gpu_mesh.standin --port {port}'"
    end_all_in(pids)


def run(
    path: Path,
    what: Node,
    inventory: tuple[str, ...],
    *,
    sisters: tuple[Node, ...] = (),
    extra: Mapping[str, Any] | None = None,
    **options: Any,
) -> PlaybookResult:
    asked = {"gpu_mesh_addresses": of_ollama(what, Mesh((what, *sisters)))}
    return playbook.run(path, what, Settings(), inventory, extra={**asked, **(extra or {})}, **options)


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def answers(port: int) -> bool:
    return (
        subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/api/tags"], capture_output=True).returncode
        == 0
    )


@pytest.mark.usefixtures("no_runners")
def test_a_command_starts_an_ollama_that_outlives_the_run(
    here: tuple[str, ...], closed_port: int, server: Callable[[int], str], tmp_path: Path
) -> None:
    said = tmp_path / "said"
    command = f"echo '{{{{.State.Status}}}} {{% x %}}' >{said}; {server(closed_port)}"
    report = run(RESTART, served_here(closed_port, recovery_command=command), here)
    assert (report.success, report.done, report.finding, report.reason) == (True, True, Finding.SILENT, "")
    assert report.said == "ran mesh_node_recovery_command, and Ollama answers on its own host"
    assert answers(closed_port)
    assert said.read_text() == "{{.State.Status}} {% x %}\n", "braces in a command are its own"


def test_the_ansible_cfg_of_the_working_directory_holds_for_the_repair_too(
    closed_port: int, server: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vault").write_text("password\n")
    (tmp_path / "ansible.cfg").write_text("[defaults]\nvault_password_file = ./vault\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    vault = Path(sys.executable).parent / "ansible-vault"
    words = [vault, "encrypt_string", "secret", "--name", "ansible_become_password"]
    secret = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    host = "    gpu1:\n      ansible_connection: local\n" + textwrap.indent(secret, "      ")
    source = tmp_path / "vaulted.yml"
    source.write_text(f"mesh_nodes:\n  hosts:\n{host}")
    report = run(RESTART, served_here(closed_port, recovery_command=server(closed_port)), (str(source),))
    assert (report.reason, report.done) == ("", True)


def test_an_ollama_that_answers_on_its_own_host_is_not_restarted(
    here: tuple[str, ...], standin: Callable[..., Standin], tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    report = run(RESTART, served_here(standin().port, recovery_command=f"touch {touched}"), here)
    assert (report.success, report.done, report.finding) == (True, False, Finding.ANSWERS)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("on_monitor", "sister", "found"),
    [
        pytest.param(False, False, Finding.ANSWERS, id="a rented pod, whose port is mapped"),
        # Which addresses are asked is for the unit tests of planning/addresses.py.
        soak(False, True, Finding.SILENT, name="a sister of the same address"),
        soak(True, False, Finding.SILENT, name="on the monitor, where a port is what it says"),
    ],
)
def test_behind_a_mapped_port_ollama_is_asked_at_its_own(
    here: tuple[str, ...],
    closed_port: int,
    own_port: int,
    tmp_path: Path,
    on_monitor: bool,
    sister: bool,
    found: Finding,
) -> None:
    touched = tmp_path / "touched"
    what = served_here(closed_port, recovery_command=f"touch {touched}; exit 1")
    what = replace(what, on_monitor=on_monitor)
    sisters = (plain("gpu2", url=f"http://127.0.0.1:{own_port}"),) if sister else ()
    with Standin(port=own_port):
        report = run(RESTART, what, here, sisters=sisters)
    assert (report.finding, touched.exists()) == (found, found is Finding.SILENT)


def test_behind_a_path_prefix_the_proxy_is_asked_with_it_and_ollama_itself_without(
    here: tuple[str, ...], closed_port: int, own_port: int, standin: Callable[..., Standin]
) -> None:
    proxy = standin(prefix="/ollama")
    what = replace(served_here(proxy.port, RecoveryKind.SYSTEMD), url=proxy.url)
    report = run(RESTART, what, here)
    assert (report.finding, report.done) == (Finding.ANSWERS, False)
    with Standin(port=own_port):
        dead = replace(what, url=f"http://127.0.0.1:{closed_port}/ollama", unit="mine.service")
        report = run(RESTART, dead, here)
    assert (report.finding, report.done) == (Finding.ANSWERS, False), "it is the proxy that is down"


@pytest.mark.parametrize("tunnelled", [False, soak(True)])
def test_behind_a_path_prefix_ollama_is_restarted_and_seen_to_answer_there(
    here: tuple[str, ...], closed_port: int, server: Callable[[int], str], tunnelled: bool
) -> None:
    start = f"{server(closed_port)[:-1]} --prefix /ollama'"
    what = served_here(closed_port, recovery_command=start)
    what = replace(what, url=f"http://127.0.0.1:{closed_port}/ollama")
    if tunnelled:
        end = Tunnel("pod", free_port(), remote_port=closed_port)
        what = replace(what, url=f"http://127.0.0.1:{end.local_port}/ollama", tunnel=end)
    report = run(RESTART, what, here)
    assert (report.reason, report.done, report.finding) == ("", True, Finding.SILENT)


@pytest.fixture
def runner(tmp_path: Path, runners: None) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """A function that starts what looks like Ollama's runner of a model, and generates."""
    started = []
    (tmp_path / "ollama").symlink_to("/bin/bash")
    (tmp_path / "runner").write_text("while :; do :; done")

    def start() -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(["./ollama", "runner", "--model", "a"], cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("cause", [soak("stuck_stopping"), "cpu_fallback"])
def test_a_node_that_serves_badly_is_not_restarted_while_it_generates(
    cause: str,
    here: tuple[str, ...],
    standin: Callable[..., Standin],
    tmp_path: Path,
    runner: Callable[[], "subprocess.Popen[bytes]"],
) -> None:
    what = served_here(standin().port, recovery_command=f"touch {tmp_path}/restarted")
    runner()
    report = run(RESTART, what, here, extra={"gpu_mesh_cause": cause})
    assert (report.finding, report.done) == (Finding.AT_WORK, False)
    assert report.said.startswith("a model is generating on its host, and a restart would cut that off")
    assert not (tmp_path / "restarted").exists()
    may_just_work = {"gpu_mesh_cause": "runner_hung", "gpu_mesh_spares_work": True}
    assert run(RESTART, what, here, extra=may_just_work).finding is Finding.AT_WORK
    assert not (tmp_path / "restarted").exists()
    hung = run(RESTART, what, here, extra=may_just_work | {"gpu_mesh_spares_work": False})
    assert hung.done, "a runner that does not answer for long is not spared, though it takes time"
    assert (tmp_path / "restarted").exists()


def test_a_repair_by_command_names_the_runners_that_a_crashed_ollama_left_behind(
    here: tuple[str, ...],
    closed_port: int,
    server: Callable[[int], str],
    runner: Callable[[], "subprocess.Popen[bytes]"],
) -> None:
    left = runner()
    report = run(RESTART, served_here(closed_port, recovery_command=server(closed_port)), here)
    assert report.done
    said, _, found = report.said.partition("; ")
    assert said == "ran mesh_node_recovery_command, and Ollama answers on its own host"
    assert found.startswith(f"runners without a server hold memory: {left.pid} (")
    ended = f"kill {left.pid}; {server(port := free_port())}"
    report = run(RESTART, served_here(port, recovery_command=ended), here)
    assert report.said == said, "the command has ended it"


@pytest.mark.soak
def test_a_repair_by_command_that_fails_names_the_runners_that_are_left_too(
    here: tuple[str, ...], runner: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    left = runner()
    report = run(RESTART, served_here(free_port(), recovery_command="exit 1"), here)
    assert report.reason.startswith(
        "mesh_node_recovery_command was run: the command ended with status 1; runners without a server"
        f" hold memory: {left.pid} ("
    )


def test_a_server_whose_model_store_fails_is_restarted_although_it_tells_its_version(
    here: tuple[str, ...], standin: Callable[..., Standin], tmp_path: Path
) -> None:
    broken = standin(fault="http_500", control=True)
    mend = f"curl -s -X PUT --data none http://127.0.0.1:{broken.port}/standin/fault"
    report = run(RESTART, served_here(broken.port, recovery_command=mend), here)
    assert (report.done, report.finding) == (True, Finding.SILENT)


@pytest.mark.usefixtures("no_runners")
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        soak(
            "echo 'no space left'; exit 3",
            "mesh_node_recovery_command was run: the command ended with status 3: no space left",
            name="plain",
        ),
        (
            "printf 'a\\033[31mb\\007c\\n'; exit 1",
            "mesh_node_recovery_command was run: the command ended with status 1: a [31mb c",
        ),
    ],
)
def test_a_command_that_fails_is_reported_with_its_last_words(
    here: tuple[str, ...], closed_port: int, command: str, reason: str
) -> None:
    report = run(RESTART, served_here(closed_port, recovery_command=command), here)
    assert (report.success, report.done, report.reason) == (False, False, reason)


def test_a_run_that_takes_too_long_is_ended_with_what_it_left_behind(
    here: tuple[str, ...], closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_OWNS", own := uuid.uuid4().hex)
    report = run(RESTART, served_here(closed_port, recovery_command="sleep 6"), here, timeout=3)
    assert not report.success
    assert report.reason == "the playbook was ended: it took longer than 3 s"
    assert report.seconds < 15
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/environ")
        if path.parent.name != str(os.getpid()) and _has_mark(path, own)
    ]
    assert left == []


def _has_mark(environ: Path, own: str) -> bool:
    try:
        # A process that has ended but was not waited for yet has an empty environment.
        found = environ.read_bytes()
        return f"{reaper.MARK}=".encode() in found and own.encode() in found
    except OSError:
        return False


def test_folders_of_runs_that_were_killed_a_day_ago_are_swept_and_nobody_elses(
    here: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, parts in (
        ("gm-old", ("env", "tmp", "cp")),
        ("gm-young", ("env", "tmp", "cp")),
        ("gm-other", ("x",)),
    ):
        for part in parts:
            (tmp_path / name / part).mkdir(parents=True)
    for name in ("gm-old", "gm-other"):
        os.utime(tmp_path / name, (1.0, 1.0))
    run(RESTART, replace(served_here(1), key="nobody"), here)
    assert {path.name for path in tmp_path.glob("gm-*")} == {"gm-young", "gm-other"}


def test_a_node_that_the_inventory_lacks_is_a_failure(here: tuple[str, ...]) -> None:
    report = run(RESTART, replace(served_here(1), key="nobody"), here)
    assert not report.success
    assert report.reason == "no host matched: nobody is not in the group mesh_nodes of the inventory"


@pytest.mark.parametrize("path", [pytest.param(RESTART, id="restart"), soak(REBUILD, name="rebuild")])
def test_a_name_that_leads_to_another_host_stops_before_anything_is_touched(
    tmp_path: Path, closed_port: int, path: Path
) -> None:
    """As a limit, a host's name that is a group's, too, means the group."""
    touched, source = tmp_path / "touched", tmp_path / "inventory.yml"
    other = {"other": {"ansible_connection": "local"}}
    source.write_text(yaml.safe_dump({"mesh_nodes": {"hosts": other}, "gpu1": {"hosts": {"other": None}}}))
    tunnel = Tunnel("pod", closed_port, recovery_command=f"touch {touched}")
    what = replace(served_here(closed_port, recovery_command=f"touch {touched}"), tunnel=tunnel)
    report = run(path, what, (str(source),), on_monitor=path is REBUILD)
    assert report.reason.startswith("This recovery is for gpu1, but as a limit that name leads to other: ")
    assert (report.success, report.looked) == (False, False)
    assert not touched.exists()


def test_a_broken_inventory_is_a_failure(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("mesh_nodes: {hosts: [")
    assert not run(RESTART, served_here(1), (str(broken),)).success


def test_a_node_whose_recovery_is_none_is_refused_with_the_reason(here: tuple[str, ...]) -> None:
    report = run(RESTART, served_here(1, RecoveryKind.NONE), here)
    assert (report.success, report.finding) == (False, Finding.NONE)
    assert report.reason == "mesh_node_recovery of gpu1 is none, so its Ollama is restarted by people only"


def test_a_host_whose_ssh_port_refuses_is_up_but_has_no_ssh_server(
    inventory: Callable[..., tuple[str, ...]], closed_port: int
) -> None:
    sources = inventory(gpu1={"ansible_host": "127.0.0.1", "ansible_port": closed_port})
    report = run(RESTART, replace(served_here(1), on_monitor=False), sources)
    assert (report.success, report.unreachable, report.finding) == (False, True, Finding.NO_SSH)
    assert report.reason == f"ssh: connect to host 127.0.0.1 port {closed_port}: Connection refused"
    assert report.contacted == "gpu1"


def test_over_ssh_a_command_starts_an_ollama_that_outlives_the_connection(
    inventory: Callable[..., tuple[str, ...]], sshd: Any, server: Callable[[int], str]
) -> None:
    port = free_port()
    there = replace(served_here(port, recovery_command=server(port)), on_monitor=False)
    sources = inventory(gpu1=sshd.variables | {"ansible_python_interpreter": "/nonexistent"})
    report = run(RESTART, there, sources)
    assert (report.reason, report.done, report.finding) == ("", True, Finding.SILENT)
    assert answers(port)


@pytest.mark.parametrize("fault", ["a stranger's key", "a changed host key"])
def test_a_login_that_fails_is_told_apart_from_a_host_that_is_down(
    inventory: Callable[..., tuple[str, ...]], sshd: Any, fault: str
) -> None:
    if fault == "a stranger's key":
        sshd.variables["ansible_ssh_private_key_file"] = str(sshd.folder / "stranger")
    else:
        known = sshd.folder / "known"
        stranger = (sshd.folder / "stranger.pub").read_text().split()[1]
        known.write_text(" ".join([*known.read_text().split()[:2], stranger]) + "\n")
    report = run(RESTART, replace(served_here(1), on_monitor=False), inventory(gpu1=sshd.variables))
    assert (report.unreachable, report.finding) == (True, Finding.NO_ACCESS)
    expected = "Permission denied" if fault == "a stranger's key" else "Host key verification failed"
    assert expected in report.reason


@pytest.mark.parametrize(
    ("kind", "load", "file", "finding", "restarted"),
    [
        (RecoveryKind.SYSTEMD, "loaded", "enabled", Finding.SILENT, True),
        soak(RecoveryKind.SYSTEMD_USER, "loaded", "enabled", Finding.SILENT, True),
        (RecoveryKind.SYSTEMD_USER, "loaded", "disabled", Finding.UNIT_DISABLED, False),
        soak(RecoveryKind.SYSTEMD, "masked", "masked", Finding.UNIT_DISABLED, False),
        (RecoveryKind.SYSTEMD, "not-found", "", Finding.UNIT_MISSING, False),
    ],
)
def test_a_unit_is_restarted_unless_its_owner_switched_it_off(
    here: tuple[str, ...],
    closed_port: int,
    server: Callable[[int], str],
    systemctl: Callable[..., Path],
    kind: RecoveryKind,
    load: str,
    file: str,
    finding: Finding,
    restarted: bool,
) -> None:
    asked = systemctl(server(closed_port), LoadState=load, UnitFileState=file, ActiveState="active")
    report = run(RESTART, served_here(closed_port, kind, unit="ollama-test.service"), here)
    assert (report.success, report.reason, report.finding, report.done) == (True, "", finding, restarted)
    restarts = [line for line in asked.read_text().splitlines() if "restart" in line]
    user = "--user " if kind is RecoveryKind.SYSTEMD_USER else ""
    assert restarts == [f"{user}restart ollama-test.service"] * restarted


@pytest.mark.parametrize("kind", [RecoveryKind.SYSTEMD, soak(RecoveryKind.SYSTEMD_USER)])
def test_a_unit_that_systemd_has_given_up_is_started_again(
    here: tuple[str, ...],
    closed_port: int,
    server: Callable[[int], str],
    systemctl: Callable[..., Path],
    kind: RecoveryKind,
) -> None:
    asked = systemctl(server(closed_port), LoadState="loaded", ActiveState="failed", InvocationID="1a")
    asked.with_suffix(".given_up").touch()
    report = run(RESTART, served_here(closed_port, kind), here)
    assert (report.reason, report.finding, report.done) == ("", Finding.SILENT, True)


@pytest.mark.parametrize(
    ("invocation", "given_up"),
    [
        pytest.param("1a", True, id="systemd did not even try"),
        soak("2b", False, name="it was started, and failed"),
    ],
)
def test_a_start_limit_that_the_login_may_not_lift_is_what_stands_in_the_way(
    here: tuple[str, ...],
    closed_port: int,
    systemctl: Callable[..., Path],
    invocation: str,
    given_up: bool,
) -> None:
    asked = systemctl("", LoadState="loaded", ActiveState="failed", InvocationID="1a")
    asked.with_suffix(".given_up").touch()
    shows = asked.with_suffix(".shows")
    refuse = f"sed -i s/InvocationID=.*/InvocationID={invocation}/ {shows}; exit 1"
    asked.with_suffix(".forbids").write_text(refuse)
    report = run(RESTART, served_here(closed_port, RecoveryKind.SYSTEMD), here)
    if given_up:
        assert (report.success, report.done, report.finding) == (True, False, Finding.UNIT_GIVEN_UP)
        assert report.said == (
            "systemd has given ollama.service up because it ended too often, and this login may not let it"
            " start again; nothing was restarted; ollama.service failed"
        )
    else:
        assert (report.success, report.finding) == (False, Finding.SILENT)
        assert "Job for the unit failed" in report.reason


@pytest.mark.parametrize("permitted", [soak(True), False])
def test_a_container_is_restarted_directly_or_with_the_one_line_in_sudoers(
    here: tuple[str, ...],
    closed_port: int,
    server: Callable[[int], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    permitted: bool,
) -> None:
    asked = tmp_path / "asked"
    start = f"({server(closed_port)}) </dev/null >/dev/null 2>&1 &"
    program(
        tmp_path / "bin",
        "docker",
        f'case "$1" in version) exit {0 if permitted else 1} ;; *) echo "$@" >>{asked}; {start} ;; esac',
    )
    program(tmp_path / "bin", "sudo", f'echo "sudo $@" >>{asked}; shift; exec "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    report = run(RESTART, served_here(closed_port, RecoveryKind.DOCKER, container="my ollama"), here)
    assert (report.reason, report.done) == ("", True)
    direct = ["restart my ollama"]
    assert asked.read_text().splitlines() == (
        direct if permitted else ["sudo -n docker restart my ollama", *direct]
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("{forward}", id="stays"),
        soak("({forward}) </dev/null >/dev/null 2>&1 &", name="goes to the background"),
    ],
)
def test_a_tunnel_is_rebuilt_by_its_command(
    here: tuple[str, ...], closed_port: int, server: Callable[[int], str], command: str
) -> None:
    tunnel = Tunnel("pod", closed_port, recovery_command=command.format(forward=server(closed_port)))
    report = run(REBUILD, replace(served_here(closed_port), tunnel=tunnel), here, on_monitor=True)
    assert (report.reason, report.done, report.finding) == ("", True, Finding.PORT_WAS_SILENT)
    assert report.said == (
        f"ran mesh_tunnel_recovery_command; local port {closed_port} is listening (it was not before)"
    )


def test_over_ssh_a_tunnel_is_rebuilt_and_carries_requests(
    here: tuple[str, ...], sshd: Any, standin: Callable[..., Standin], tmp_path: Path
) -> None:
    local = free_port()
    remote, pid, see = standin(), tmp_path / "pid", sshd.variables
    forward = (
        f"echo $$ >{pid}; exec ssh -N -L 127.0.0.1:{local}:127.0.0.1:{remote.port} "
        f"{see['ansible_ssh_common_args']} -i {see['ansible_ssh_private_key_file']} "
        f"-p {see['ansible_port']} 127.0.0.1"
    )
    tunnel = Tunnel("127.0.0.1", local, remote_port=remote.port, recovery_command=forward)
    report = run(REBUILD, replace(served_here(local), on_monitor=False, tunnel=tunnel), here, on_monitor=True)
    try:
        assert (report.reason, report.done, report.contacted) == ("", True, "the monitor")
        assert answers(local)
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)


@pytest.mark.parametrize("scope", ["system", soak("user")])
def test_a_tunnel_without_a_command_is_its_unit(
    here: tuple[str, ...],
    closed_port: int,
    server: Callable[[int], str],
    systemctl: Callable[..., Path],
    scope: str,
) -> None:
    asked = systemctl(server(closed_port), LoadState="loaded", UnitFileState="enabled", ActiveState="active")
    settings = msgspec.convert({"scope": scope}, Settings)
    what = replace(served_here(closed_port), tunnel=Tunnel("pod", closed_port))
    report = playbook.run(REBUILD, what, settings, here, on_monitor=True)
    assert (report.reason, report.done) == ("", True)
    flag = "--user " if scope == "user" else ""
    assert f"{flag}restart gpu-mesh-tunnel@gpu1.service" in asked.read_text().splitlines()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        pytest.param(RESTART, (), id="restart, no limit"),
        soak(RESTART, ("-l", "gpu1,gpu2"), name="restart, two nodes"),
        soak(REBUILD, (), name="rebuild, no limit"),
    ],
)
def test_by_hand_a_playbook_refuses_anything_but_one_node_before_it_touches_any(
    inventory: Callable[..., tuple[str, ...]], path: Path, limit: tuple[str, ...]
) -> None:
    (sources,) = inventory(gpu1={"ansible_port": 1}, gpu2={"ansible_port": 1})
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", sources, path, *limit],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "A recovery is for exactly one node: name it with -l NODE." in done.stdout
    assert "unreachable=0" in done.stdout
    assert "TASK [" in done.stdout
    assert done.stdout.count("TASK [") == 1


@pytest.mark.parametrize("path", [pytest.param(RESTART, id="restart"), soak(REBUILD, name="rebuild")])
def test_by_hand_the_node_is_resolved_as_the_checker_does(
    inventory: Callable[..., tuple[str, ...]], closed_port: int, server: Callable[[int], str], path: Path
) -> None:
    local = free_port()
    variables = {
        "ansible_connection": "local",
        "mesh_node_recovery": "command",
        "mesh_node_recovery_command": server(closed_port),
        "mesh_node_headers": {"X-Route": "s3cret-token"},
        "mesh_tunnel_host": "127.0.0.1",
        "mesh_tunnel_local_port": local,
        "mesh_tunnel_remote_port": closed_port,
        "mesh_tunnel_recovery_command": server(local),
    }
    (sources,) = inventory(gpu1=variables)
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-vvv", "-i", sources, path, "-l", "gpu1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "s3cret-token" not in done.stdout + done.stderr
    assert answers(closed_port if path == RESTART else local)


def test_a_nodes_secrets_stay_out_of_the_process_list_and_the_folder_is_removed(
    here: tuple[str, ...], closed_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    seen = tmp_path / "seen"
    command = f"cat /proc/[0-9]*/cmdline >{seen} 2>/dev/null; cp -r {tmp_path}/gm-* {tmp_path}/copy; exit 1"
    secret = {"Authorization": "Bearer s3cret-token"}
    run(RESTART, served_here(closed_port, recovery_command=command, headers=secret), here)
    assert b"ansible-playbook" in seen.read_bytes()
    assert b"s3cret-token" not in seen.read_bytes()
    copied = [path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert copied
    assert not any(b"s3cret-token" in content for content in copied)
    assert list(tmp_path.glob("gm-*")) == []


@pytest.mark.parametrize("tool", ["curl", "wget", "python3", "bash", None])
def test_a_host_is_looked_at_with_whatever_it_has(
    standin: Callable[..., Standin], closed_port: int, tmp_path: Path, tool: str | None
) -> None:
    names = ["head", "tr", "timeout", "id", *([tool] if tool else [])]
    # python3 by its own path: a version switcher's shim would need more programs beside it.
    found = {name: sys.executable if name == "python3" else shutil.which(name) for name in names}
    if None in found.values():
        pytest.skip(f"{tool} is not installed")
    for name, path in found.items():
        program(tmp_path / "bin", name, f'exec {path} "$@"')
    good, failing, stuck = standin(), standin(fault="http_500"), standin(fault="hang")
    below, beside = (standin(prefix="/team/ollama") for _ in range(2))
    ports = (good.port, failing.port, stuck.port, closed_port, f"{below.port}/team/ollama", beside.port)
    addresses = " ".join(f"127.0.0.1:{port}" for port in ports)
    functions = (RESTART.parent / "files/gpu_mesh.sh").read_text()
    done = subprocess.run(
        ["/bin/sh", "-c", f"{functions}\nlook 1 {addresses}"],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=20,
    )
    answering = {f"gpu-mesh: answers 127.0.0.1:{port}" for port in (good.port, f"{below.port}/team/ollama")}
    said = done.stdout.splitlines()
    assert (set(said[:-1]), said[-1:]) == ((answering, ["gpu-mesh: looked"]) if tool else (set(), []))


def test_the_operators_own_playbook_takes_the_place_of_one_file(tmp_path: Path) -> None:
    own = tmp_path / "restart_ollama.yml"
    own.write_text("---\n")
    assert playbook.find(Action.RESTART_OLLAMA, str(tmp_path)) == own
    assert playbook.find(Action.REBUILD_TUNNEL, str(tmp_path)) == REBUILD
