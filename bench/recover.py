"""CPU of repairing one node, and a node of 50 that failed together.

Usage: python bench/recover.py [NODES]

Each node is a stand-in for Ollama that is down, at an address of its own. Its repair logs in by ssh, to
a server on loopback, and lets it be up. CPU is user and system time as the kernel counts it: of gpu-mesh
recover with all its children, so with Ansible and ssh, but without the ssh server and what it starts. One and
many alternate, three times; medians.
"""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import private_sshd
from factories import refusing
from gpu_mesh.domain.health import Status
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from measure import Row, compared, python

BUDGET, ROUNDS = 0.4, 3
"""The CPU of a node of many, of that of one alone."""

PROGRAM = Path(__file__).parents[1] / "tests/programs/serve_where_up.py"


def cpu_seconds(command: list[str], environment: Mapping[str, str]) -> float:
    """Run a command in its home, where no ansible.cfg is, as on a monitor; return its seconds of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(
            f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-600:]}{done.stderr[-600:]}"
        )
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Hall:
    """Nodes that are down until they are repaired, and a monitor that finds them so."""

    def __init__(self, folder: Path, ssh_port: int, port: int) -> None:
        self.folder, self.up, self.port = folder, folder / "up", port
        self._login = {
            "ansible_host": "127.0.0.1",
            "ansible_port": ssh_port,
            "ansible_ssh_private_key_file": f"{folder}/user",
        }
        self._environment = {**os.environ, "HOME": str(folder)}

    def repaired(self, nodes: int) -> float:
        """Let that many nodes fail together, and return the seconds of CPU of their repair."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            inventory, state = Path(name, "mesh.yml"), Path(name, "state")
            args = f"-F none -o UserKnownHostsFile={self.folder}/known"
            args += f" -o SetEnv=GPU_MESH_LEASE_DIR={name}/leases"
            hosts = {f"n{i}": {"ansible_ssh_common_args": args, **self._node(i)} for i in range(nodes)}
            groups = {"mesh_nodes": {"hosts": hosts}}
            inventory.write_text(json.dumps(groups))
            command = [python(), "-m", "gpu_mesh", "-i", str(inventory), "--state-dir", str(state)]
            cpu_seconds([*command, "validate"], self._environment)
            now = time.time()
            file = StateFile(state, Log(state / "log"))
            with file.update(now) as known:
                known.nodes = {key: refusing(now - 90) for key in hosts}
            used = cpu_seconds([*command, "recover"], self._environment)
            shutil.rmtree(self.up)
            self.up.mkdir()
            left = [key for key, each in file.load().nodes.items() if each.status is not Status.HEALTHY]
            if left:
                sys.exit(
                    f"not repaired: {', '.join(left)}\n{(state / 'log/gpu-mesh.log').read_text()[-3000:]}"
                )
            return used

    def _node(self, number: int) -> dict[str, object]:
        address = f"127.0.{number // 250 + 1}.{number % 250 + 1}"
        return {
            **self._login,
            "mesh_node_url": f"http://{address}:{self.port}",
            "mesh_node_recovery": "command",
            "mesh_node_recovery_command": f"touch {self.up}/{address}",
        }


@contextmanager
def hall() -> Iterator[Hall]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ssh_port, port = one.getsockname()[1], other.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        made = Hall(Path(name), ssh_port, port)
        made.up.mkdir()
        ollama = subprocess.Popen([sys.executable, PROGRAM, made.up, str(port)])
        try:
            with private_sshd.serving(made.folder, ssh_port, "MaxStartups 100", "AcceptEnv GPU_MESH_*"):
                yield made
        finally:
            ollama.kill()
            ollama.wait()


def rows(nodes: int = 50) -> Iterator[Row]:
    """Measure one repair, and many at once, in turn; return the row of the table."""
    with hall() as here:
        one, many = zip(
            *((here.repaired(1), here.repaired(nodes) / nodes) for _ in range(ROUNDS)), strict=True
        )
    yield compared(f"CPU a node of {nodes} repaired at once", many, one, "of one alone", BUDGET)


def main() -> int:
    missed = False
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 50):
        print(row.what, row.ours, row.beside, row.ratio, row.budget, row.verdict, sep="   ")
        missed |= row.met is False
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
