"""The look at the GPUs over ssh, as an ordinary user, while nvidia-smi cannot be killed."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator

import machines
import pytest

from checkout import PROGRAMS
from gpu_host import FUNCTIONS, GpuHost, facts

STUCK = (
    "pgrep -x nvidia-smi | while read -r number; do grep -q ') D ' /proc/$number/stat && echo $number; done"
)


@pytest.fixture
def machine(site: machines.Site) -> Iterator[machines.Machine]:
    """A machine with a card of NVIDIA whose driver never answers."""
    made = site.machine("stuck")
    host = GpuHost(made.root / "srv")
    host.device("0000:01:00.0", "nvidia")
    shutil.rmtree(host.root / "proc")
    (host.root / "proc").symlink_to("/proc")
    host.program("nvidia-smi", "read -r answer </mnt/driver")
    shutil.copy(PROGRAMS / "never_answer.py", made.root / "srv")
    enter = f"nsenter --target {made.leader} --mount --pid python3 /srv/never_answer.py /mnt 3"
    with subprocess.Popen(
        ["sh", "-c", f"exec {enter} 3<>/dev/fuse"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        assert server.stdout.readline() == "nobody gets an answer\n"
        yield made
        server.kill()
    made.halt()


def look(machine: machines.Machine, shell: str, seconds: int) -> list[str]:
    script = f"PATH=/srv/programs:$PATH GPU_MESH_GPU_ROOT=/srv/host\n{FUNCTIONS}\nlook_at_gpus {seconds}"
    return facts(machine.out(f"{shell} -c {shlex.quote(script)}", user="admin"))


def test_a_look_ends_and_starts_no_second_process_while_one_cannot_be_killed(
    machine: machines.Machine,
) -> None:
    first = look(machine, "sh", 6)
    (number,) = machine.out(STUCK).split()
    machine.ssh(f"kill -9 {number}")
    assert "smi stuck" in first
    (waits,) = [line for line in first if line.startswith("waits")]
    assert waits.split()[1::2] == [number, "nvidia-smi"]
    for shell in ("sh", "bash"):
        again = look(machine, shell, 2)
        assert [line for line in again if line.startswith(("smi", "waits", "end"))] == [
            waits,
            "smi skipped",
            "end",
        ]
    assert machine.out(STUCK) == number
    assert machine.out("ls -d /tmp/gpu-mesh.* 2>/dev/null || true") == ""
