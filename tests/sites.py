"""A monitor in folders of its own with the real command, and a receiver of its alerts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gpu_mesh.domain.state import State
from gpu_mesh.storage.state_file import decode
from gpu_mesh.system.paths import Paths

PATIENCE = 40.0  # seconds until a condition that should come true counts as failed
# Its programs must leave no half of a compiled file behind.
LIMITED = ("env", "PYTHONDONTWRITEBYTECODE=1", "prlimit")
FOREIGN = ("GPU_MESH", "XDG_", "PYTHON")


def eventually(condition: Callable[[], object], patience: float = PATIENCE) -> bool:
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Site:
    """A monitor's folders, its inventory, and the command that works on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "mesh.yml"
        self.state_dir = folder / "state"
        self.paths = Paths((str(self.inventory),), folder / "config", self.state_dir, self.state_dir / "log")
        self.program = [sys.executable, "-m", "gpu_mesh"]
        # Nothing of this machine's own configuration, but for the programs.
        self.environment = {
            "GPU_MESH_LEASE_DIR": str(folder / "leases"),
            **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
            "HOME": str(folder),
            "GPU_MESH_CONFIG_DIR": str(self.paths.config),
        }

    def describe(self, nodes: dict[str, dict[str, Any]], **settings: object) -> None:
        """Write the inventory; a node is given by the ends of its variables' names, or by whole ones.

        Nodes that were never healthy alert at once, unless a grace is given.
        """
        hosts = {
            key: {
                name if name.startswith(("ansible_", "mesh_")) else f"mesh_node_{name}": value
                for name, value in {"ansible_connection": "local", **variables}.items()
            }
            for key, variables in nodes.items()
        }
        own = {f"mesh_monitor_{name}": value for name, value in {"grace": 0, **settings}.items()}
        monitor = {"hosts": {"monitor": {"ansible_connection": "local", **own}}}
        text = json.dumps({"mesh_monitors": monitor, "mesh_nodes": {"hosts": hosts}}, indent=1)
        self.inventory.write_text(text)

    def nothing_can_be_saved(self, most: int = 1000) -> None:
        """From now on the kernel lets no command write more bytes to a file; not even root's."""
        self.program = [*LIMITED, f"--fsize={most}", *self.program]

    def all_can_be_saved_again(self) -> None:
        self.program = self.program[len(LIMITED) + 1 :]

    def command(self, *words: str) -> list[str]:
        options = ["-i", str(self.inventory), "--state-dir", str(self.state_dir)]
        return [*self.program, *options, *words]

    @property
    def typed(self) -> str:
        """The command with the options that a person types here."""
        return f"gpu-mesh -i {self.inventory} --state-dir {self.state_dir}"

    def run(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        settings = {"env": self.environment, "capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(self.command(*words), check=False, **settings)

    def ok(self, *words: str, **options: Any) -> str:
        """Run a command that must succeed quietly; return what it printed."""
        done = self.run(*words, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def check(self, times: int = 1) -> None:
        for _ in range(times):
            self.ok("check")

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--json").stdout)

    def state(self) -> State:
        return decode(self.paths.state_file.read_bytes())

    def log(self) -> list[str]:
        file = self.paths.log_file
        return file.read_text().splitlines() if file.exists() else []

    def alerts_go_to(self, url: str) -> None:
        self.paths.config.mkdir(exist_ok=True)
        file = self.paths.config / "apprise.yml"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"urls": [{url: {"tag": "info,warning,error,critical"}}]}))


class Receiver(ThreadingHTTPServer):
    """A chat service's web hook: keeps title and body of each message that arrives."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.url = f"json://127.0.0.1:{self.server_address[1]}/"
        self.titles: list[str] = []
        self.bodies: list[str] = []

    def levels(self, name: str) -> list[str]:
        """Return the levels of the alerts about the node with that name, in order."""
        return [title.partition("[")[2].partition("]")[0] for title in self.titles if f" {name}: " in title]


class _Post(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.titles.append(message["title"])
        self.server.bodies.append(message["message"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def processes_with(mark: str) -> list[int]:
    """Return the processes in whose environment the text stands: those that a test started, and their own."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def end_all_with(mark: str) -> None:
    """End the processes in whose environment the text stands; one may end with another."""
    for number in processes_with(mark):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def end_all_in(pids: Path) -> None:
    """End the processes whose numbers stand in the file, if there is one: what a recovery command started."""
    for number in pids.read_text().split() if pids.exists() else ():
        with suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)
