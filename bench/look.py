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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import private_sshd
from gpu_host import FUNCTIONS, GpuHost

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


def main() -> int:
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 50
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
            command = [sys.executable, "-m", "gpu_mesh", "-i", str(inventory), "--state-dir", f"{name}/state"]
            cpu_seconds([*command, "validate"], environment)
            monitor = cpu_seconds([*command, "look"], environment) / hosts
        there = {
            **os.environ,
            "GPU_MESH_GPU_ROOT": str(made.root),
            "PATH": f"{made.programs}:{os.environ['PATH']}",
        }
        look = ["sh", "-c", f"{FUNCTIONS}\nlook_at_gpus 15 >/dev/null"]
        node = sum(cpu_seconds(look, there) for _ in range(5)) / 5
    share = 100 * monitor * 1000 / 600
    print(f"one look, on the monitor    {monitor * 1000:6.0f} ms CPU   budget {BUDGET_SECONDS * 1000:.0f}")
    print(f"one look, on the host       {node * 1000:6.0f} ms CPU   (mean of 5)")
    print(f"1,000 nodes in ten minutes  {share:6.1f} % of one core   budget {BUDGET_SHARE:.0f}")
    return 0 if monitor <= BUDGET_SECONDS and share <= BUDGET_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
