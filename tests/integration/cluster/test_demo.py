"""``make demo-cluster``: three monitors, whose leader is killed in an incident."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitors import LACKING

COMMAND = [sys.executable, "-m", "gpu_mesh.demo.monitors"]


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_demo_tells_how_another_monitor_goes_on_in_an_incident() -> None:
    if LACKING:
        pytest.skip(LACKING)
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.strip() for line in done.stdout.splitlines()]
    assert any("is gone: " in line and "leads the mesh now" in line for line in said)
    leads = [line.split(",")[1] for line in said if line.startswith("This monitor") and "leads" in line]
    assert len(set(leads)) == 2, "another one leads in the end"
    assert sum("[CRITICAL] Bench: offline after 15 failures" in line for line in said) == 1
    assert any("[INFO] Bench: recovered" in line for line in said)


def test_without_etcd_it_says_how_to_get_it() -> None:
    nothing = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=nothing, timeout=60, check=False)
    assert done.returncode == 1
    assert "sudo apt install etcd-server" in done.stdout
