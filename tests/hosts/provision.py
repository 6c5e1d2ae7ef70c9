"""What an operator has and does: wheels, an inventory, a mailbox, ansible-playbook. For the host tests."""

import contextlib
import email
import email.policy
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import machines
import yaml
from aiosmtpd.controller import Controller

from checkout import PROGRAMS, ROOT
from gpu_mesh import __version__
from gpu_mesh.domain.state import SCHEMA

BIN = Path(sys.executable).parent
SERVICES = (
    "check",
    "deliver",
    "recover",
    "look",
    "look-here",
    "stats",
    "dashboard",
    "publish",
    "logrotate",
    "failure@x",
)
"""The monitor's own services, without ``gpu-mesh-`` before and ``.service`` after it."""
MIGRATE = "(self, state: State) -> None:\n        state.schema = SCHEMA\n"
POD = ("--as-pid2", "/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -p 22 -p 22022")
"""What a rented pod runs: no systemd, only the server of ssh, at two ports."""
POD_OLLAMA = """#!/bin/sh
# "ollama serve", of an interpreter that nobody finds.
exec env PYTHONHOME=/usr PYTHONPATH=/opt/ollama /opt/hidden/ollama -m gpu_mesh.standin --models a --loaded a
"""
FAULT = re.compile(
    r"fatal|FAILED|UNREACHABLE|ignoring|rescued=[1-9]|\[(WARNING|ERROR|DEPRECATION)"
    "|Refuse|there is no|is missing"
)
"""What a line reads like a fault by; those of Ansible are red."""


def wheels(site: machines.Site, python: str, listed: str = "constraints.txt") -> Path:
    """Return a folder with the wheels that a monitor with that Python ("311") needs, as without an index.

    They are fetched once and kept.

    Args:
        site: in whose folder they lie.
        python: the version, without its dot.
        listed: the file that lists them.
    """
    constraints = ROOT / listed
    kept = machines.CACHE / f"needed-{python}-{hashlib.sha256(constraints.read_bytes()).hexdigest()[:12]}"
    folder = site.folder / f"wheels-{python}-{constraints.stem}"
    if folder.is_dir():
        return folder
    with machines.making(kept) as staged:
        if staged:
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
            limits = ["--require-hashes", "--only-binary=:all:", "--python-version", python]
            subprocess.run([*pip, *limits, "-r", constraints, "-d", staged], check=True)
    shutil.copytree(kept, folder)
    return folder


def newer(site: machines.Site, version: str, schema: int = SCHEMA) -> Path:
    """Return a checkout of a later version.

    Its state has one field more, as that of any later version may have.

    Args:
        site: in whose folder it is made.
        version: the later one.
        schema: of the state that it writes; it reads those before, too.
    """
    checkout = site.folder / f"checkout-{version}"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "tests", "docs", "bench"))
    for name, old, new in (
        ("checker/gpu_mesh/__init__.py", f'"{__version__}"', f'"{version}"'),
        (
            "checker/gpu_mesh/domain/state.py",
            "    next_silence: int = 1\n",
            "    next_silence: int = 1\n    later: int = 7\n",
        ),
        ("checker/gpu_mesh/domain/state.py", f"\nSCHEMA = {SCHEMA}\n", f"\nSCHEMA = {schema}\n"),
        ("checker/gpu_mesh/storage/state_file.py", "if schema != SCHEMA:", "if schema > SCHEMA:"),
        ("checker/gpu_mesh/storage/state_file.py", "(self, state: State) -> None:\n", MIGRATE),
    ):
        text = (checkout / name).read_text()
        assert text.count(old) == 1, name
        (checkout / name).write_text(text.replace(old, new))
    return checkout


def bring_standin(machine: machines.Machine) -> None:
    """Copy the stand-in's modules there, once: one that starts just then would find half a module."""
    checker, package = ROOT / "checker/gpu_mesh", machine.root / "opt/ollama/gpu_mesh"
    if package.exists():
        return
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(checker / "standin", package / "standin", ignore=ignore, dirs_exist_ok=True)
    shutil.copy(checker / "__init__.py", package)


def install_ollama(
    machine: machines.Machine,
    host: str,
    user: str = "root",
    *,
    unit: str = "ollama",
    port: int = 11434,
    controlled: bool = False,
) -> None:
    """Install the stand-in as ``ollama.service``, listening on that address; of a user, when one is named.

    One that is controlled takes faults from set_fault.py, and has a process that waits, as Ollama has for the
    model that is loaded.
    Unlike Ollama's own unit it has no Restart=, so that a crash is the monitor's to repair.
    """
    bring_standin(machine)
    folder = "/etc/systemd/system" if user == "root" else f"/home/{user}/.config/systemd/user"
    target = "multi-user.target" if user == "root" else "default.target"
    command = f"/usr/bin/python3 -m gpu_mesh.standin --host {host} --port {port} --models a,b --loaded a"
    if controlled:
        command = f'/bin/sh -c "sleep infinity & exec {command} --control"'
    text = (
        "[Unit]\nDescription=Stand-in for Ollama\n[Service]\nEnvironment=PYTHONPATH=/opt/ollama\n"
        f"ExecStart={command}\n"
        f"[Install]\nWantedBy={target}\n"
    )
    systemctl = "systemctl" if user == "root" else "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user"
    machine.ssh(
        f"mkdir -p {folder} && printf %s '{text}' >{folder}/{unit}.service && {systemctl} daemon-reload && "
        f"{systemctl} enable --quiet --now {unit}.service",
        user=user,
    )


def furnish_pod(pod: machines.Machine) -> None:
    """Install the stand-in on a machine that runs POD, as its `ollama serve`; afterwards it has no Python."""
    bring_standin(pod)
    ollama = pod.root / "usr/local/bin/ollama"
    ollama.write_text(POD_OLLAMA)
    ollama.chmod(0o755)
    pod.ssh(
        "mkdir /opt/hidden && mv /usr/bin/python3* /opt/hidden/ &&"
        " cp -L /opt/hidden/python3 /opt/hidden/ollama && ! command -v python3"
    )
    pod.ssh("setsid ollama serve </dev/null >/dev/null 2>&1 &")


class Play:
    """What a run of ansible-playbook showed."""

    def __init__(self, printed: str, code: int, seconds: float) -> None:
        self.printed = printed
        self.code = code
        self.seconds = seconds

    @property
    def said(self) -> str:
        """What it printed, as one line."""
        return " ".join(self.printed.split())

    @property
    def faults(self) -> list[str]:
        """Return the lines that read like a fault, of a run in which there was none."""
        return [line for line in self.printed.splitlines() if FAULT.search(line)]

    def recap(self, word: str) -> dict[str, int]:
        """Return each host's count of ``changed``, ``failed`` and so on."""
        found = re.findall(rf"^(\S+)\s+: ok=.*\b{word}=(\d+)", self.printed, re.MULTILINE)
        return {host: int(count) for host, count in found}


class Operator:
    """An operator's folder: the inventory and what it names."""

    def __init__(self, site: machines.Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.checkout = ROOT
        self.inventory: dict[str, Any] = {}
        self.environ: dict[str, str] = {}
        folder.mkdir(exist_ok=True)

    def encrypt(self, *files: Path) -> None:
        """Encrypt these by ansible-vault, with a password that every later play gets."""
        password = self.folder / "vault-password"
        password.write_text("open sesame\n")
        self.environ["ANSIBLE_VAULT_PASSWORD_FILE"] = str(password)
        subprocess.run(
            [BIN / "ansible-vault", "encrypt", *files],
            env={**os.environ, **self.environ},
            capture_output=True,
            check=True,
        )

    def play(self, *arguments: str, check: bool = True) -> Play:
        """Run ansible-playbook from the checkout."""
        (self.folder / "mesh.yml").write_text(yaml.safe_dump(self.inventory, sort_keys=False))
        begun = time.monotonic()
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", self.folder / "mesh.yml", *arguments],
            cwd=self.checkout,
            env={
                **os.environ,
                "ANSIBLE_SSH_ARGS": f"-F {self.site.ssh_config}",
                "ANSIBLE_CONFIG": str(self.checkout / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "PATH": f"{BIN}:{os.environ['PATH']}",
                **self.environ,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        play = Play(done.stdout + done.stderr, done.returncode, time.monotonic() - begun)
        assert not check or play.code == 0, play.printed[-6000:]
        return play


class Mailbox:
    """A real SMTP server on the machines' network that keeps what it gets."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.closed = False  # takes nothing now; who sends shall come again

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.closed:
            return "451 come again later"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.subjects.append(str(message["Subject"]))
        return "250 OK"


@contextlib.contextmanager
def mailbox(address: str) -> Iterator[tuple[Mailbox, int]]:
    """Run one on that address; yields it and its port."""
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    box = Mailbox()
    server = Controller(box, hostname=address, port=port)
    server.start()
    try:
        yield box, port
    finally:
        server.stop()


class Web(ThreadingHTTPServer):
    """A web server on the machines' network: an index of a folder of wheels; takes all else that is sent."""

    def __init__(self, address: str, wheels: Path) -> None:
        super().__init__((address, 0), _WebRequest)
        self.address = f"{address}:{self.server_port}"
        self.wheels = wheels
        self.requests: list[str] = []


class _WebRequest(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2:
            links = [
                f'<a href="/wheels/{wheel.name}">{wheel.name}</a>'
                for wheel in self.server.wheels.glob("*.whl")
                if wheel.name.split("-")[0].replace("_", "-").replace(".", "-").lower() == parts[1]
            ]
            self._answer(200 if links else 404, f"<!DOCTYPE html><body>{''.join(links)}</body>".encode())
        elif parts[0] == "wheels":
            self._answer(200, (self.server.wheels / Path(parts[-1]).name).read_bytes())
        else:
            self._answer(200, b"OK")

    def do_POST(self) -> None:
        self.server.requests.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"OK")

    def _answer(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header(
            "Content-Type", "text/html" if content.startswith(b"<") else "application/octet-stream"
        )
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@contextlib.contextmanager
def web(address: str, wheels: Path) -> Iterator[Web]:
    """Run one on that address."""
    with Web(address, wheels) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def status(monitor: machines.Machine, user: str = "root") -> dict[str, dict[str, Any]]:
    """Return ``gpu-mesh status --json`` by node; empty as long as there is none."""
    command = "gpu-mesh" if user == "root" else "~/.local/bin/gpu-mesh"
    shown = monitor.ssh(f"{command} status --json", user=user, check=False).stdout
    try:
        return {node["node"]: node for node in json.loads(shown)["nodes"]}
    except (ValueError, KeyError):
        return {}


def run(monitor: machines.Machine, name: str) -> str:
    """Run a program of tests/programs on a monitor, as its user and with what it has installed.

    Returns what it printed.
    """
    text = shlex.quote((PROGRAMS / name).read_text())
    return monitor.out(f"cd / && runuser -u gpu-mesh -- /opt/gpu-mesh/venv/bin/python -c {text}")
