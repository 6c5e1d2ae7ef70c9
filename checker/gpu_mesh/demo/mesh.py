"""Builds the demo's mesh on loopback: stand-in nodes, a tunnel, an alert receiver, and their inventory.

Everything is in one temporary folder and in processes whose numbers are known, so that all of it can be
removed again.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

import msgspec

from gpu_mesh.demo.card import DemoCard
from gpu_mesh.demo.receiver import Message, receiver
from gpu_mesh.standin.server import free_port
from gpu_mesh.system.paths import Paths

REAL_OLLAMA = "http://127.0.0.1:11434"
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""Without this folder an sshd refuses to start as root."""


class StoryError(Exception):
    """The story did not go as it should."""


class DemoMesh:
    """The processes and files of one demo; use it in a ``with`` statement."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inventory = str(folder / "inventory.yml")
        self.paths = Paths((inventory,), folder / "config", folder / "state", folder / "log")
        self.messages: SimpleQueue[Message] = SimpleQueue()
        self.has_sshd = False
        self.has_ollama = _answers(REAL_OLLAMA)
        # Every process that is started here inherits this, recoveries included. So their temporary files are
        # in the folder, and a process with this TMPDIR is one of the demo's.
        own = {"TMPDIR": str(folder), "GPU_MESH_LEASE_DIR": str(folder / "leases")}
        self.card = DemoCard(folder)  # made up: what recoveries on this machine see of GPUs
        seen = {
            "GPU_MESH_GPU_ROOT": str(self.card.root),
            "PATH": f"{self.card.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        self.environment = {**os.environ, **self.paths.environment(), **own, **seen}
        self._children: list[subprocess.Popen[bytes]] = []
        self._cleanup = ExitStack()

    def __enter__(self) -> "DemoMesh":
        try:
            self._build()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def pid(self, name: str) -> int:
        """Return the number of the process that serves ``desk``, ``iceland`` or the ``tunnel`` now."""
        number = self._number(name)
        if not number:
            raise StoryError(f"nothing has started {name}")
        return number

    def kill(self, name: str) -> int:
        """Kill that process as a crash would, and return its number."""
        number = self.pid(name)
        os.kill(number, signal.SIGKILL)
        return number

    def lose_card(self) -> int:
        """Let Desk's card fall off the bus, and its Ollama end with it; return the number of that process."""
        self.card.be(well=False)
        return self.kill("desk")

    def reboot_desk(self) -> None:
        """Do what a person does then: the card is back, and Ollama is started."""
        self.card.be(well=True)
        (self.folder / "desk.pid").unlink()
        self._start("desk")

    def _build(self) -> None:
        self._cleanup.callback(self._end_all)
        desk, iceland, local = free_port(), free_port(), free_port()
        for folder in (self.paths.config, self.paths.state):
            folder.mkdir()
        webhook = self._cleanup.enter_context(receiver(self.messages))
        urls = [{webhook: {"tag": "info,warning,error,critical"}}]
        self._write(self.paths.config / "apprise.yml", {"urls": urls})
        standin = [sys.executable, "-m", "gpu_mesh.standin", "--port"]
        self._script(
            "desk", [*standin, str(desk), "--models", "llama3.2:3b,qwen3:8b", "--loaded", "qwen3:8b"]
        )
        self._script("iceland", [*standin, str(iceland), "--models", "gpt-oss:20b"])
        login = self._sshd()
        forward = f"127.0.0.1:{local}:127.0.0.1:{iceland}"
        if login:
            self._script("tunnel", [*self._ssh(login), "-N", "-L", forward, "127.0.0.1"])
        else:
            self._script(
                "tunnel", [sys.executable, "-m", "gpu_mesh.demo.port_forward", str(local), str(iceland)]
            )
        for name in ("desk", "iceland", "tunnel"):
            self._start(name)
        self._write(Path(self.paths.inventory[0]), self._inventory(desk, iceland, local, login))

    def _inventory(self, desk: int, iceland: int, local: int, login: int) -> Mapping[str, object]:
        monitor = {
            "ansible_connection": "local",
            "mesh_monitor_check_interval": 1,
            "mesh_monitor_recovery_backoff": 1,  # Desk fails a second time within the minute
            "mesh_monitor_apprise_config": str(self.paths.config / "apprise.yml"),
        }
        # Checked every second, a node is offline before a slow machine has repaired it.
        common = {"mesh_node_offline_threshold": 60}
        nodes = self._nodes(desk, iceland, local, login)
        return {
            "mesh_monitors": {"hosts": {"monitor": monitor}},
            "mesh_nodes": {"hosts": nodes, "vars": common},
        }

    def _nodes(self, desk: int, iceland: int, local: int, login: int) -> Mapping[str, object]:
        nodes: dict[str, dict[str, object]] = {
            "desk": {
                "ansible_connection": "local",
                "mesh_node_name": "Desk",
                "mesh_node_url": f"http://127.0.0.1:{desk}",
                "mesh_node_timeout": 2,
                "mesh_node_recovery": "command",
                "mesh_node_recovery_command": shlex.quote(str(self.folder / "desk.sh")),
            },
            "iceland": {
                "ansible_host": "127.0.0.1",
                "mesh_node_name": "Iceland",
                "mesh_node_timeout": 2,
                "mesh_node_recovery": "command",
                "mesh_node_recovery_command": shlex.quote(str(self.folder / "iceland.sh")),
                "mesh_tunnel_host": "127.0.0.1",
                "mesh_tunnel_local_port": local,
                "mesh_tunnel_remote_port": iceland,
                "mesh_tunnel_recovery_command": shlex.quote(str(self.folder / "tunnel.sh")),
            },
        }
        if login:
            nodes["iceland"] |= {
                "ansible_port": login,
                "ansible_ssh_private_key_file": str(self.folder / "key"),
                "ansible_ssh_use_tty": False,  # an sshd that is not root's has none to give
                "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={self.folder / 'known_hosts'}",
            }
        else:
            nodes["iceland"]["ansible_connection"] = "local"
        if self.has_ollama:
            nodes["ollama"] = {
                "ansible_connection": "local",
                "mesh_node_name": "Your Ollama",
                "mesh_node_recovery": "none",
            }
        return nodes

    def _write(self, path: Path, content: Mapping[str, object]) -> None:
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))

    def _script(self, name: str, command: list[str]) -> None:
        """Write the script that starts a process and stores its number; demo and recovery both run it."""
        script = self.folder / f"{name}.sh"
        pid = shlex.quote(str(self.folder / f"{name}.pid"))
        # By rename, because the number may be read while a recovery writes it.
        note = f"echo $$ > {pid}.new && mv {pid}.new {pid}"
        script.write_text(f"#!/bin/sh\n{note}\nexec {shlex.join(command)}\n")
        script.chmod(0o700)

    def _start(self, name: str) -> None:
        process = subprocess.Popen(
            [self.folder / f"{name}.sh"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._children.append(process)
        deadline = time.monotonic() + 10
        while not self._number(name):
            if time.monotonic() > deadline:
                raise StoryError(f"{name} did not start")
            time.sleep(0.02)

    def _number(self, name: str) -> int:
        try:
            return int((self.folder / f"{name}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _end_all(self) -> None:
        """End every process of the demo, whoever started it: this one, a recovery, a recovery's command."""
        for process in self._children:
            process.kill()  # one by one, because sshd overwrites its environment with its title
        end_processes_with(f"TMPDIR={self.folder}")
        for process in self._children:
            process.wait()

    def _sshd(self) -> int:
        """Start a private sshd for this user and return its port; 0 where that is not possible."""
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None or shutil.which("ssh") is None:
            return 0
        if os.geteuid() == 0 and not PRIVILEGE_SEPARATION.exists():
            PRIVILEGE_SEPARATION.mkdir(mode=0o755)
            self._cleanup.callback(PRIVILEGE_SEPARATION.rmdir)
        port = free_port()
        for name in ("host_key", "key"):
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gpu-mesh demo", "-f"]
            subprocess.run([*keygen, self.folder / name], check=True)
        shutil.copy(self.folder / "key.pub", self.folder / "authorized_keys")
        host_key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        (self.folder / "sshd_config").write_text(_SSHD.format(port=port, folder=self.folder))
        server = subprocess.Popen(
            [program, "-D", "-f", self.folder / "sshd_config", "-E", self.folder / "sshd.log"],
            env=self.environment,
            start_new_session=True,
        )
        self._children.append(server)
        self.has_sshd = self._can_log_in(port)
        return port if self.has_sshd else 0

    def _can_log_in(self, port: int) -> bool:
        attempt = [*self._ssh(port), "-oConnectionAttempts=5", "127.0.0.1", "true"]
        return subprocess.run(attempt, capture_output=True, timeout=30, check=False).returncode == 0

    def _ssh(self, port: int) -> list[str]:
        options = (f"-o{name}={value}" for name, value in _SSH_CLIENT.items())
        known = f"-oUserKnownHostsFile={self.folder / 'known_hosts'}"
        return ["ssh", "-F", "none", *options, known, "-i", str(self.folder / "key"), "-p", str(port)]


_SSH_CLIENT = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "IdentitiesOnly": "yes",
    "ExitOnForwardFailure": "yes",
    "ServerAliveInterval": "5",
    "ConnectTimeout": "5",
}

_SSHD = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv TMPDIR={folder} GPU_MESH_LEASE_DIR={folder}/leases
"""


def end_processes_with(setting: str) -> None:
    """Kill the other processes with that setting in their environment, and those that they start."""
    while found := list(_processes_with(setting.encode())):
        for number in found:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def _processes_with(setting: bytes) -> Iterator[int]:
    """Yield the numbers of the other processes with that setting in their environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if setting in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                yield int(entry.name)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=1) as answer:  # noqa: S310 - it is http
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
