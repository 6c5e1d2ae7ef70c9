"""The check as a whole: what it counts, and what it does not."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gpu_mesh.standin import Standin


def test_what_the_monitor_itself_could_not_probe_counts_for_nothing_and_fails_the_check(
    standin: Callable[..., Standin], tmp_path: Path
) -> None:
    silent = standin(fault="hang")
    hosts = {f"n{number}": {"mesh_node_url": silent.url, "mesh_node_timeout": 1} for number in range(40)}
    inventory = tmp_path / "mesh.yml"
    inventory.write_text(json.dumps({"mesh_nodes": {"hosts": hosts}}))
    command = [sys.executable, "-m", "gpu_mesh", "-i", inventory, "--state-dir", tmp_path / "state"]
    subprocess.run([*command, "status"], capture_output=True, check=False)  # reads the inventory

    def leave_few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    done = subprocess.run([*command, "check"], capture_output=True, text=True, preexec_fn=leave_few_files)
    assert done.returncode == 1
    nodes = json.loads((tmp_path / "state/state.json").read_text())["nodes"]
    assert 0 < len(nodes) < 40
    assert {node["cause"] for node in nodes.values()} == {"timeout"}
    log = (tmp_path / "state/log/gpu-mesh.log").read_text()
    unprobed = [line for line in log.splitlines() if "event=not_probed" in line]
    assert len(unprobed) == 40 - len(nodes)
    assert 'reason="too many open files"' in unprobed[0]
