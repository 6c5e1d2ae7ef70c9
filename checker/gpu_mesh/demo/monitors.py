"""Shows three monitors of one mesh, whose leader is killed in an incident; for ``make demo-cluster``.

Real commands and a real etcd, on this machine alone. A lease lasts half a minute, so the story takes two.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from gpu_mesh.demo.mesh import StoryError, end_processes_with
from gpu_mesh.demo.receiver import Message, receiver
from gpu_mesh.standin.server import Standin, free_port

NAMES = ("desk", "attic", "porch")
PATIENCE = 90.0
"""Seconds that one chapter of the story may take before it is given up."""

NO_ETCD = """\
There is no etcd on this machine, through which the monitors share their state.
On Debian and Ubuntu: sudo apt install etcd-server, then: sudo systemctl disable --now etcd
"""


def main() -> int:
    """Show the story; return 0 when another monitor went on where the one that died was, else 1."""
    if not shutil.which("etcd"):
        sys.stdout.write(NO_ETCD)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="gpu-mesh-demo-") as folder, _Monitors(Path(folder)) as monitors:
        try:
            _show(monitors)
        except StoryError as error:
            sys.stdout.write(f"\nThe demo did not go as it should: {error}\n")
            return 1
    _say("\nEverything is gone again. Your own: docs/cluster.md")
    return 0


def _show(monitors: "_Monitors") -> None:
    _say("Three monitors share one mesh through etcd; each runs gpu-mesh run, and checks every 2 seconds.")
    leader = monitors.until_led()
    _say(f"\n1. All is well.\n   $ gpu-mesh cluster          (on {leader})")
    monitors.show(leader, "cluster")
    _say("\n2. The Ollama of the node bench ends.")
    monitors.node.close()
    monitors.watch("[WARNING] Bench")
    _say(f"\n3. In the middle of that, the machine of {leader} dies: kill -9 of all its processes.")
    monitors.kill(leader)
    monitors.watch(f"The monitor {leader} is gone")
    second = monitors.until_led(but=leader)
    monitors.watch("[CRITICAL] Bench")
    _say(f"   {second} has gone on counting where {leader} was.")
    _say("\n4. The node is well again.")
    monitors.start_node()
    monitors.watch("[INFO] Bench")
    _say(f"\n   $ gpu-mesh cluster          (on {second})")
    monitors.show(second, "cluster")
    _say(f"   $ gpu-mesh incidents        (on {second})")
    monitors.show(second, "incidents")


class _Monitors:
    """The processes of the demo; use it in a ``with`` statement."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._messages = folder, SimpleQueue[Message]()
        self._port = free_port()
        self._cleanup = ExitStack()
        self.node: Standin

    def __enter__(self) -> "_Monitors":
        try:
            self._build()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _build(self) -> None:
        self._cleanup.callback(end_processes_with, f"GPU_MESH_DEMO={self._folder}")
        url = self._etcd()
        self.start_node()
        webhook = self._cleanup.enter_context(receiver(self._messages))
        apprise = {"urls": [{webhook: {"tag": "info,warning,error,critical"}}]}
        hosts = {name: {"ansible_host": f"192.0.2.{number}"} for number, name in enumerate(NAMES, 1)}
        common = {
            "mesh_cluster_endpoints": [url],
            "mesh_monitor_check_interval": 2,
            "mesh_monitor_recover_interval": 5,
            "mesh_monitor_grace": 0,
            "mesh_monitor_apprise_config": str(self._folder / "apprise.yml"),
        }
        node = {"mesh_node_name": "Bench", "mesh_node_url": self.node.url, "mesh_node_recovery": "none"}
        # The leader dies before the node counts as offline, whatever the machine's speed.
        node |= {"mesh_node_timeout": 1, "mesh_node_offline_threshold": 15}  # type: ignore[dict-item]
        self._write("apprise.yml", apprise)
        groups = {"mesh_monitors": {"hosts": hosts, "vars": common}, "mesh_nodes": {"hosts": {"bench": node}}}
        self._write("mesh.yml", groups)
        for name in NAMES:
            self._start([*self._command(name), "run"], name)

    def _etcd(self) -> str:
        url, peers = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        client = ["--listen-client-urls", url, "--advertise-client-urls", url]
        peer = ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        known = ["--initial-cluster", f"default={peers}"]
        self._start(["etcd", "--data-dir", str(self._folder / "etcd"), *client, *peer, *known], "etcd")
        return url

    def start_node(self) -> None:
        """Start the node's Ollama, a stand-in, at the port that it had."""
        self.node = self._cleanup.enter_context(Standin(models=("llama3.2:3b",), port=self._port))

    def kill(self, name: str) -> None:
        """Kill every process of a monitor, as a power cut would."""
        end_processes_with(f"GPU_MESH_DEMO_MONITOR={self._folder / name}")

    def until_led(self, but: str = "") -> str:
        """Wait until a monitor leads, another one than ``but``; return its name."""
        found = ""

        def is_led() -> bool:
            nonlocal found
            for name in NAMES:
                if name != but and '"role":"leader"' in self._run(name, "cluster", "--json").stdout:
                    found = name
            return bool(found)

        self._until(is_led, "no monitor leads")
        return found

    def watch(self, words: str) -> None:
        """Show the messages that arrive, until one with these words in its title has."""
        began, shown = time.monotonic(), ""
        while words not in shown:
            left = max(0.0, began + PATIENCE - time.monotonic())
            try:
                shown = self._messages.get(timeout=left).title
            except Empty:
                raise StoryError(f"within {PATIENCE:g} s no message said {words!r}") from None
            _say(f"   {time.monotonic() - began:4.1f} s  {shown}")

    def show(self, name: str, *words: str) -> None:
        """Run a command on a monitor, and show what it prints."""
        for line in self._run(name, *words).stdout.splitlines():
            _say(f"   {line}")

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise StoryError(f"within {PATIENCE:g} s {otherwise}")
            time.sleep(0.5)

    def _command(self, name: str) -> list[str]:
        own = ["--monitor", name, "--state-dir", str(self._folder / name)]
        return [sys.executable, "-m", "gpu_mesh", "-i", str(self._folder / "mesh.yml"), *own]

    def _run(self, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        command, environment = [*self._command(name), *words], self._environment(name)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def _environment(self, name: str) -> dict[str, str]:
        own = {
            "GPU_MESH_DEMO": str(self._folder),
            "GPU_MESH_DEMO_MONITOR": str(self._folder / name),
            "GPU_MESH_CONFIG_DIR": str(self._folder),
        }
        return {**os.environ, **own}

    def _start(self, command: list[str], name: str) -> None:
        process = subprocess.Popen(
            command,
            env=self._environment(name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)

    def _write(self, name: str, content: object) -> None:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
