"""CPU of a look at the GPUs of 50 hosts, on the monitor and on a host, and what follows for 1,000 nodes.

Usage: python bench/look.py [HOSTS]

The hosts are this machine, over ssh to a server of its own on loopback; its GPU is made up. CPU is user and
system time as the kernel counts it: of gpu-mesh with all its children, so with Ansible and ssh, but without
the ssh server. The share of one core is for 1,000 nodes that are looked at once in ten minutes.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import private_sshd
from gpu_host import FUNCTIONS, GpuHost
from measure import Row, bounded, python

BUDGET_SECONDS, BUDGET_SHARE = 0.1, 15.0


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(
            f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-600:]}{done.stderr[-600:]}"
        )
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rows(hosts: int = 50) -> Iterator[Row]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = GpuHost(folder / "gpu")
        made.nvidia("one", "pci.bus_id=00000000:01:00.0")
        with private_sshd.serving(folder, port, "MaxStartups 100", "AcceptEnv GPU_MESH_*"):
            own = {
                "ansible_host": "127.0.0.1",
                "ansible_port": port,
                "ansible_ssh_private_key_file": f"{folder}/user",
                "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={folder}/known "
                f"-o SetEnv=GPU_MESH_GPU_ROOT={made.root}",
            }
            nodes = {f"n{i}": {**own, "mesh_node_url": f"http://n{i}:11434"} for i in range(hosts)}
            inventory = folder / "mesh.yml"
            inventory.write_text(json.dumps({"mesh_nodes": {"hosts": nodes}}))
            environment = {**os.environ, "HOME": name}
            command = [python(), "-m", "gpu_mesh", "-i", str(inventory), "--state-dir", f"{name}/state"]
            cpu_seconds([*command, "validate"], environment)
            monitor = cpu_seconds([*command, "look"], environment) / hosts
        there = {
            **os.environ,
            "GPU_MESH_GPU_ROOT": str(made.root),
            "PATH": f"{made.programs}:{os.environ['PATH']}",
        }
        look = ["sh", "-c", f"{FUNCTIONS}\nlook_at_gpus 15 >/dev/null"]
        node = [cpu_seconds(look, there) for _ in range(5)]
    yield bounded(f"CPU of a look at GPUs, a host of {hosts}", [monitor], BUDGET_SECONDS)
    yield bounded("CPU of a look at GPUs, on the host", node, None)
    share = 100 * monitor * 1000 / 600
    yield bounded("a core's share, 1,000 looks in 10 min", [share], BUDGET_SHARE, "%")


def main() -> int:
    found = list(rows(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
    for row in found:
        print(f"{row.what:40} {row.ours:>10}   budget {row.budget}")
    return 0 if all(row.met is not False for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
