"""A monitor that works for long: its files are as large as predicted, and nothing else of it grows."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkout import PROGRAMS
from gpu_mesh.standin.server import Standin
from sites import Receiver, Site, end_all_with, eventually

pytestmark = pytest.mark.soak

TICKS, NODES = int(os.environ.get("GPU_MESH_DAY_TICKS", "2880")), 3
STATE_NODE, STATE_ALERT, KEPT_ALERTS = 2048, 1024, 120  # bytes; docs/history.md has those of the history
SAMPLE, HOUR, EVENT, EMPTY = 20, 64, 200, 56 * 1024
NAMES = {
    "cache", "deliver.lock", "history.db", "log/gpu-mesh.log", "mesh.json", "state.json", "state.lock",
    "state.previous.json", "publish.wanted", "recover.wanted", "deliver.wanted",
}  # fmt: skip
GROWTH = 6 * 1024  # KiB that a process may have more late than early: the allocator's, not a leak's


@pytest.mark.timeout(1500)
def test_after_a_day_of_checks_the_files_are_as_large_as_predicted_and_nothing_has_leaked(
    site: Site,
    standin: Callable[..., Standin],
    receiver: Receiver,
    record_property: Callable[[str, object], None],
) -> None:
    seed = int(os.environ.get("GPU_MESH_DAY_SEED") or random.randrange(10**9))
    print(f"GPU_MESH_DAY_SEED={seed}")
    urls = [standin(control=True, models=("a", "b")).url for _ in range(NODES)]
    site.describe({f"n{number}": {"url": url, "recovery": "none"} for number, url in enumerate(urls)})
    site.alerts_go_to(receiver.url)
    temporary = site.folder / "tmp"
    temporary.mkdir()
    program = [sys.executable, str(PROGRAMS / "check_for_a_day.py")]
    folders = map(str, (site.inventory, site.state_dir, site.paths.config))
    done = subprocess.run(
        [*program, *folders, str(TICKS), str(seed), *urls],
        env={**site.environment, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    early, late = map(json.loads, done.stdout.splitlines())
    assert (late["descriptors"], late["threads"]) == (early["descriptors"], early["threads"])
    assert late["rss_kib"] - early["rss_kib"] < GROWTH
    assert late["temporary"] == []
    assert {name for name in late["files"] if not name.startswith("cache/")} <= NAMES, (
        "no copy, no damaged file"
    )
    assert sum(name.startswith("cache/") for name in late["files"]) == 1
    assert late["state"] <= NODES * STATE_NODE + KEPT_ALERTS * STATE_ALERT
    assert 0.75 <= late["history"] / _predicted(site) <= 1.25
    sizes = (late["state"], late["history"], _predicted(site))
    state, history, predicted = (f"{size / 1024:.0f} KiB" for size in sizes)
    memory = " and ".join(f"{seen['rss_kib'] / 1024:.0f} MiB" for seen in (early, late))
    record_property(
        "shown",
        f"{TICKS} checks of {NODES} nodes, seed {seed}: state.json {state}, history.db {history} "
        f"({predicted} predicted); memory {memory} after a third and at the end; "
        f"{late['descriptors']} descriptors, {late['threads']} thread; {len(receiver.titles)} messages",
    )


def _predicted(site: Site) -> int:
    """Return the bytes that the history should have: each check and hour of each node, and what happened."""
    events = len(json.loads(site.ok("history", "--since", "2d", "--json"))["events"])
    return EMPTY + NODES * (TICKS * SAMPLE + TICKS * 30 // 3600 * HOUR) + events * EVENT


def held(process: "subprocess.Popen[bytes]") -> tuple[int, int, int]:
    """Return a process's descriptors, threads and memory in KiB."""
    place = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    return len(list((place / "fd").iterdir())), int(status["Threads"]), int(status["VmRSS"].split()[0])


@pytest.mark.timeout(600)
def test_gpu_mesh_run_and_what_it_starts_leave_nothing_behind_and_it_does_not_grow(
    site: Site,
    standin: Callable[..., Standin],
    receiver: Receiver,
    record_property: Callable[[str, object], None],
) -> None:
    """Checks, deliveries, recoveries by ansible-runner, and the page: real processes, for some minutes."""
    node: dict[str, Any] = {
        "url": standin(fault="http_500").url,
        "recovery": "command",
        "recovery_command": "true",
        "warn_after": 1,
    }
    site.describe(
        {"well": {"url": standin().url}, "ill": node},
        check_interval=1,
        recover_interval=1,
        recovery_backoff=1,
        recovery_settle=1,
    )
    site.alerts_go_to(receiver.url)
    temporary = site.folder / "tmp"
    temporary.mkdir()
    environment = {**site.environment, "TMPDIR": str(temporary)}
    running = subprocess.Popen(site.command("run"), env=environment, stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: checks(site) >= 15, patience=120)
        early = held(running)
        assert eventually(lambda: checks(site) >= 60, patience=400)
        # Each command that runs just now has one for what it says.
        assert eventually(lambda: held(running)[:2] <= early[:2]), held(running)
        late = held(running)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        # What watches over the command of a repair that was cut off ends after the time that this has.
        assert eventually(lambda: not list(temporary.iterdir()), patience=120), list(temporary.iterdir())
    finally:
        end_all_with(f"HOME={site.folder}")
    assert late[2] - early[2] < GROWTH
    assert sum(site.state().node("ill").recovery.recoveries.get("restart_ollama", {}).values()) > 0
    names = {str(path.relative_to(site.state_dir)) for path in site.state_dir.rglob("*") if path.is_file()}
    odd = {name for name in names if not name.startswith(("cache/", "www/", "log/"))} - NAMES
    assert odd <= {"publish.lock", "run.lock", "recover.lock", "recover.locks/ill"}
    record_property(
        "shown",
        f"gpu-mesh run over {checks(site)} checks: {early[0]} descriptors, {early[1]} threads and "
        f"{early[2] / 1024:.1f} MiB early, {late[0]}, {late[1]} and {late[2] / 1024:.1f} MiB late",
    )


def checks(site: Site) -> int:
    return site.state().node("well").statistics.checks if site.paths.state_file.exists() else 0
