"""Whose a tunnel's local port is, and what follows: real listeners, real ssh forwards, real playbooks."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Node, RecoveryKind, Settings, Tunnel
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import playbook
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.standin.server import Standin, free_port
from sites import end_all_in, eventually

REBUILD = playbook.find(Action.REBUILD_TUNNEL)
FILES = REBUILD.parent / "files"
FUNCTIONS = "".join((FILES / name).read_text() for name in ("gpu_mesh.sh", "port.sh"))


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """A function that starts a program; it is ended afterwards."""
    running: list[subprocess.Popen[bytes]] = []

    def starts(*command: object, **options: Any) -> "subprocess.Popen[bytes]":
        running.append(subprocess.Popen([str(word) for word in command], **options))
        return running[-1]

    yield starts
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """A file for the numbers of what a recovery command starts."""
    yield tmp_path / "pids"
    end_all_in(tmp_path / "pids")


def sh(script: str, **environment: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{FUNCTIONS}\n{script}"],
        env=dict(os.environ, **environment),
        capture_output=True,
        text=True,
        timeout=30,
    )
    return (done.stdout + done.stderr).strip()


def server(port: int) -> list[object]:
    return [sys.executable, "-m", "gpu_mesh.standin", "--port", port]


def listens(port: int) -> bool:
    return sh(f"port_listens {port} && echo yes") == "yes"


def run(port: int, command: str, here: tuple[str, ...], **extra: Any) -> PlaybookResult:
    node = Node(
        "gpu1",
        "GPU one",
        f"http://127.0.0.1:{port}",
        recovery=RecoveryKind.COMMAND,
        recovery_command="true",
        tunnel=Tunnel("pod", port, recovery_command=command),
    )
    return playbook.run(REBUILD, node, Settings(), here, on_monitor=True, extra=extra)


def test_a_port_that_a_stranger_holds_is_told_of_and_left_alone(
    here: tuple[str, ...], standin: Callable[..., Standin], tmp_path: Path, leases: Path
) -> None:
    stranger, touched = standin(), tmp_path / "touched"
    report = run(stranger.port, f"touch {touched}", here)
    assert (report.success, report.done, report.finding) == (True, False, Finding.PORT_TAKEN)
    name = Path("/proc/self/comm").read_text().strip()
    assert report.said == (
        f"local port {stranger.port} is held by {name} (process {os.getpid()}, uid {os.geteuid()}), "
        "not by the tunnel; nothing was touched"
    )
    assert not touched.exists()
    assert not leases.exists()


def test_only_a_look_is_taken_for_a_cause_that_a_rebuild_does_not_help(
    here: tuple[str, ...], closed_port: int, tmp_path: Path, start: Callable[..., Any], leases: Path
) -> None:
    touched = tmp_path / "touched"
    silent = run(closed_port, f"touch {touched}", here, gpu_mesh_look_only=True)
    assert (silent.success, silent.done, silent.finding) == (True, False, Finding.PORT_WAS_SILENT)
    start(*server(closed_port), env=dict(os.environ, GPU_MESH_TUNNEL="gpu1"))
    assert eventually(lambda: listens(closed_port))
    ours = run(closed_port, f"touch {touched}", here, gpu_mesh_look_only=True)
    assert (ours.success, ours.done, ours.finding) == (True, False, Finding.PORT_IS_OURS)
    assert ours.said == f"local port {closed_port} is held by the tunnel itself; nothing was touched"
    assert not touched.exists()
    assert not leases.exists()


def test_what_a_tunnels_own_command_left_at_the_port_is_ended_and_the_tunnel_rebuilt(
    here: tuple[str, ...], closed_port: int, pids: Path
) -> None:
    command = f"echo $$ >>{pids}; exec {' '.join(map(str, server(closed_port)))}"
    first = run(closed_port, command, here)
    assert (first.reason, first.done, first.finding) == ("", True, Finding.PORT_WAS_SILENT)
    os.kill(int(pids.read_text()), signal.SIGSTOP)  # it holds the port, and answers nobody
    second = run(closed_port, command, here)
    assert (second.reason, second.done, second.finding) == ("", True, Finding.PORT_WAS_LISTENING)
    old, new = pids.read_text().split()
    assert not Path(f"/proc/{old}").exists()
    assert Path(f"/proc/{new}").exists()


def test_another_tunnels_process_is_a_stranger(closed_port: int, start: Callable[..., Any]) -> None:
    start(*server(closed_port), env=dict(os.environ, GPU_MESH_TUNNEL="gpu2"))
    assert eventually(lambda: listens(closed_port))
    spec = f"{closed_port}:127.0.0.1:11434"
    assert sh(f"look_at_port {closed_port} gpu1 command {spec}").startswith("gpu-mesh: port taken ")
    assert sh(f"look_at_port {closed_port} gpu2 command {spec}") == "gpu-mesh: port ours"


@pytest.mark.parametrize(
    ("words", "ours", "ended"),
    [
        (["-N", "-L", "{port}:127.0.0.1:11434", "pod"], True, True),
        (["-fNT", "-L127.0.0.1:{port}:localhost:11434", "pod"], True, True),
        (["-NL", "127.0.0.1:{port}:127.0.0.1:11434", "pod"], True, True),
        (["-L", "{port}:127.0.0.1:11434", "-oNumberOfPasswordPrompts=0", "pod"], True, False),
        (["-N", "-L", "{port}:127.0.0.1:8000", "pod"], False, False),
        (["-N", "-R", "{port}:127.0.0.1:11434", "pod"], False, False),
        (["-N", "-D", "{port}", "pod"], False, False),
    ],
    ids=["plain", "in one word", "flags in one", "with a shell", "to elsewhere", "remote", "proxy"],
)
def test_an_ssh_counts_as_the_tunnel_by_that_very_forward_and_is_ended_if_it_does_nothing_else(
    closed_port: int, tmp_path: Path, start: Callable[..., Any], words: list[str], ours: bool, ended: bool
) -> None:
    given = [word.format(port=closed_port) for word in words]
    # A program of that name and those arguments: what a real ssh shows of itself.
    listen = f"import socket; s = socket.create_server(('127.0.0.1', {closed_port})); s.accept()"
    (tmp_path / "ssh").symlink_to(sys.executable)
    process = start(tmp_path / "ssh", "-c", listen, *given, env=dict(os.environ, PYTHONHOME=sys.base_prefix))
    assert eventually(lambda: listens(closed_port))
    specs = f"{closed_port}:127.0.0.1:11434 {closed_port}:localhost:11434"
    said = sh(f"look_at_port {closed_port} gpu1 command {specs}")
    assert said == "gpu-mesh: port ours" if ours else said.startswith("gpu-mesh: port taken ")
    sh(f"end_stale {closed_port} gpu1 {specs}")
    if ended:
        assert process.wait(10) == -signal.SIGTERM
    else:
        assert process.poll() is None


@pytest.mark.parametrize("scope", ["system", "user"])
def test_a_port_is_the_units_when_its_control_group_holds_it(
    tmp_path: Path, standin: Callable[..., Standin], scope: str
) -> None:
    port = standin().port
    group = Path("/proc/self/cgroup").read_text().splitlines()[-1].split(":", 2)[2]
    unit = "gpu-mesh-tunnel@gpu1.service"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\n[ "$*" = "--{scope} show -p ControlGroup -- {unit}" ] && echo "ControlGroup=$GROUP"\n'
    )
    systemctl.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    look = f"look_at_port {port} gpu1 unit {scope} {unit}"
    assert sh(look, PATH=path, GROUP=group) == "gpu-mesh: port ours"
    for other in ("", "/system.slice/other.service", f"{group}x"):
        assert sh(look, PATH=path, GROUP=other).startswith("gpu-mesh: port taken ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_of_a_strangers_process_that_may_not_be_seen_its_user_is_named(
    standin: Callable[..., Standin],
) -> None:
    port = standin().port
    done = subprocess.run(
        ["/bin/sh", "-c", f"{FUNCTIONS}\nlook_at_port {port} gpu1 command x"],
        capture_output=True,
        text=True,
        user=60001,
    )
    assert done.stdout.strip() == (
        "gpu-mesh: port taken a process of uid 0, which only that user and root can see"
    )


def test_a_silent_port_is_silent() -> None:
    assert sh(f"look_at_port {free_port()} gpu1 command x") == "gpu-mesh: port silent"


def test_settings_reach_the_look_of_a_unit(here: tuple[str, ...], standin: Callable[..., Standin]) -> None:
    node = Node("gpu1", "GPU one", "http://127.0.0.1:1", tunnel=Tunnel("pod", standin().port))
    settings = msgspec.convert({"scope": "user"}, Settings)
    report = playbook.run(REBUILD, node, settings, here, on_monitor=True)
    assert (report.done, report.finding) == (False, Finding.PORT_TAKEN)
