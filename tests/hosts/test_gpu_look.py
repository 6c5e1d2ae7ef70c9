"""The look at the GPUs over ssh, on machines with a real systemd: a driver that hangs, and Ollama's log."""

import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator

import machines
import pytest

from checkout import PROGRAMS
from gpu_host import FUNCTIONS, GpuHost, facts

STUCK = (
    "pgrep -x nvidia-smi | while read -r number; do grep -q ') D ' /proc/$number/stat && echo $number; done"
)


def with_a_card(machine: machines.Machine) -> GpuHost:
    """Give the machine a card of NVIDIA, below /srv/host; its processes are real."""
    host = GpuHost(machine.root / "srv")
    host.device("0000:01:00.0", "nvidia")
    shutil.rmtree(host.root / "proc")
    (host.root / "proc").symlink_to("/proc")
    return host


@pytest.fixture
def machine(site: machines.Site) -> Iterator[machines.Machine]:
    """A machine with a card of NVIDIA whose driver never answers."""
    made = site.machine("stuck")
    with_a_card(made).program("nvidia-smi", "read -r answer </mnt/driver")
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


def look(machine: machines.Machine, shell: str, *arguments: object, user: str = "admin") -> list[str]:
    words = " ".join(map(str, arguments))
    script = f"PATH=$PATH:/srv/programs GPU_MESH_GPU_ROOT=/srv/host\n{FUNCTIONS}\nlook_at_gpus {words}"
    return facts(machine.out(f"{shell} -c {shlex.quote(script)}", user=user))


def test_a_look_ends_and_starts_no_second_process_while_one_cannot_be_killed(
    machine: machines.Machine, measured: list[str]
) -> None:
    first = look(machine, "sh", 6)
    (number,) = machine.out(STUCK).split()
    machine.ssh(f"kill -9 {number}")
    assert "smi stuck" in first
    (waits,) = [line for line in first if line.startswith("waits")]
    assert waits.split()[1::2] == [number, "nvidia-smi"]
    for shell in ("sh", "bash"):
        begun = time.monotonic()
        again = look(machine, shell, 2)
        measured.append(
            f"look of 2 s by {shell} while an nvidia-smi hangs: {time.monotonic() - begun:.1f} s with its ssh"
        )
        assert [line for line in again if line.startswith(("smi", "waits", "end"))] == [
            waits,
            "smi skipped",
            "end",
        ]
    assert machine.out(STUCK) == number
    assert machine.out("ls -d /tmp/gpu-mesh.* 2>/dev/null || true") == ""


def test_ollamas_log_since_its_start_is_read_by_whom_the_journal_lets_read_it(site: machines.Site) -> None:
    machine = site.machine("journal")
    with_a_card(machine)
    found = 'level=INFO msg="inference compute" id=0 library=CUDA'
    machine.ssh("echo 'inference compute, of another unit' | systemd-cat")
    for unit in (f"echo {shlex.quote(found)}-before", f"echo {shlex.quote(found)}; sleep 600"):
        machine.ssh("systemctl stop ollama.service 2>/dev/null; sleep 1", check=False)
        machine.ssh(f"systemd-run --quiet --unit ollama.service sh -c {shlex.quote(unit)}")
        machines.await_that(
            lambda: found in machine.out("journalctl -q -o cat -u ollama.service"), 20, "it logs"
        )
    words = ("15", "system", "ollama.service")
    seen = [line for line in look(machine, "sh", *words, user="root") if line.startswith(("smi", "ollama"))]
    assert seen == ["smi missing", f"ollama_log {found}"]
    assert "smi missing" in look(machine, "sh", *words)
    assert not [line for line in look(machine, "sh", *words) if line.startswith("ollama_log")]
    machine.halt()
