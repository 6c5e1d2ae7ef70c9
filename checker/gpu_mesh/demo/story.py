"""Shows a mesh that fails and is repaired, with the real code, on this machine alone: ``gpu-mesh demo``."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from queue import Empty

from gpu_mesh.demo.mesh import REAL_OLLAMA, DemoMesh, StoryError
from gpu_mesh.demo.receiver import Message

PATIENCE = 40.0
"""Seconds that one chapter of the story may take before it is given up."""

ENDING = """\
Now your own mesh:
  1. Describe your nodes in inventory/mesh.yml.
  2. .venv/bin/gpu-mesh -i inventory validate
  3. .venv/bin/gpu-mesh -i inventory run     watch in the foreground, as this demo did
"""


_FINE = {0, 1}
"""Exit statuses of healthy and degraded: this machine's own Ollama may well run without a GPU."""


def run() -> int:
    """Show the story; return 0 when every failure was alerted and repaired, else 1."""
    # systemd, make and docker end a program with SIGTERM, a closed terminal with SIGHUP: clean up then too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu-mesh-demo-") as folder, DemoMesh(Path(folder)) as mesh:
        monitor = subprocess.Popen(
            [*_command(mesh), "run"],
            env=mesh.environment,
            stdout=subprocess.DEVNULL,
            stderr=(mesh.folder / "monitor.err").open("wb"),
            start_new_session=True,
        )
        try:
            _show(mesh)
        except StoryError as error:
            sys.stdout.write(f"\nThe demo did not go as it should: {error}\n")
            sys.stdout.write((mesh.folder / "monitor.err").read_text(errors="replace")[-3000:])
            return 1
        finally:
            monitor.terminate()
            monitor.wait()
    _say(f"\nThat took {time.monotonic() - began:.0f} s. Everything but the page is gone again.\n")
    _say(ENDING)
    return 0


def _show(mesh: DemoMesh) -> None:
    tunnel = (
        "a real ssh tunnel" if mesh.has_sshd else "a plain forwarder (no sshd here, so no real ssh tunnel)"
    )
    _say("Aurora GPU Mesh: a mesh on loopback, checked every second by the real monitor.")
    _say(f"  Desk      a stand-in for Ollama, process {mesh.pid('desk')}")
    _say(f"  Iceland   another one, reached through {tunnel}, process {mesh.pid('tunnel')}")
    if mesh.has_ollama:
        _say(f"  and the Ollama at {REAL_OLLAMA}, watched as it is")
    _say("\n1. All is well.")
    _until_healthy(mesh)
    _show_status(mesh)
    _say(f"\n2. Desk's Ollama crashes: kill -9 {mesh.kill('desk')}")
    _watch(mesh, "Desk")
    _say(f"   Desk is served by process {mesh.pid('desk')} now.")
    _say(f"\n3. Iceland's tunnel dies: kill -9 {mesh.kill('tunnel')}")
    _watch(mesh, "Iceland")
    _say(f"   The tunnel is process {mesh.pid('tunnel')} now.")
    _say(f"\n4. Desk's GPU (a made-up one) falls off the bus, and Ollama ends: process {mesh.lose_card()}")
    _watch(mesh, "Desk", until={"ERROR", "CRITICAL"})
    _say("   No restart helps there, so none was tried. You reboot Desk.")
    mesh.reboot_desk()
    _watch(mesh, "Desk", until={"INFO"})
    _say("\n5. All is well again.")
    _until_healthy(mesh)
    _show_status(mesh)
    _say("   $ gpu-mesh incidents")
    for line in _run(mesh, "incidents").stdout.splitlines():
        _say(f"   {line}")
    _say(f"\n   The page that anybody can be given: {_keep_page(mesh)}")


def _keep_page(mesh: DemoMesh) -> Path:
    """Write the page, and keep it when everything else of the demo is gone; return where it is."""
    written = Path(_run(mesh, "publish").stdout.splitlines()[0])
    opened, name = tempfile.mkstemp(prefix="gpu-mesh-demo-", suffix=".html")
    with os.fdopen(opened, "wb") as kept:
        kept.write(written.read_bytes())
    return Path(name)


def _watch(mesh: DemoMesh, name: str, until: Collection[str] = ("INFO",)) -> None:
    """Show the alerts about a node as they arrive, until those of all these levels have come.

    On a slow machine an alert may replace the one before it, which then never arrives.
    """
    began, levels = time.monotonic(), set[str]()
    while not levels.issuperset(until):
        left = began + PATIENCE - time.monotonic()
        try:
            message = mesh.messages.get(timeout=max(0.0, left))
        except Empty:
            raise StoryError(
                f"within {PATIENCE:g} s only these alerts of {name} came: {levels or 'none'}"
            ) from None
        if name in message.title:
            levels.add(message.title.partition("[")[2].partition("]")[0])
            _show_alert(message, time.monotonic() - began)


def _show_alert(message: Message, after: float) -> None:
    _say(f"   {after:4.1f} s  {message.title}")
    for line in message.message.splitlines():
        if line.startswith("Next step"):
            _say(f"           {line}")


def _until_healthy(mesh: DemoMesh) -> None:
    deadline = time.monotonic() + PATIENCE
    while _status(mesh).returncode not in _FINE:
        if time.monotonic() > deadline:
            raise StoryError("the nodes did not become healthy")
        time.sleep(0.2)


def _show_status(mesh: DemoMesh) -> None:
    _say("   $ gpu-mesh status")
    for line in _status(mesh).stdout.partition("\n\nRecently:")[0].splitlines():
        _say(f"   {line}")


def _status(mesh: DemoMesh) -> "subprocess.CompletedProcess[str]":
    return _run(mesh, "status")


def _run(mesh: DemoMesh, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*_command(mesh), *words], env=mesh.environment, capture_output=True, text=True, check=False
    )


def _command(mesh: DemoMesh) -> list[str]:
    return [sys.executable, "-m", "gpu_mesh", "-i", mesh.paths.inventory[0]]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
