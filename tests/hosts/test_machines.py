"""The machines themselves: what the other host tests stand on."""

import os
import subprocess
import sys
from pathlib import Path

import machines

from checkout import PROGRAMS


def test_a_machine_boots_answers_by_ssh_and_comes_back_after_a_reboot(site: machines.Site) -> None:
    machine = site.machine("first")
    assert machine.out("systemctl is-system-running --wait") == "running"
    boot = machine.out(
        "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic --value"
    )
    machine.reboot()
    assert machine.out("systemctl show -p UserspaceTimestampMonotonic --value") not in boot
    assert "systemd-journald" in machine.journal()
    machine.halt()


def test_a_run_clears_what_a_killed_one_left_and_leaves_a_living_one_alone(site: machines.Site) -> None:
    machine = site.machine("living")
    program = PROGRAMS / "hold_machine.py"
    folder = Path(__file__).parent
    path = os.pathsep.join(map(str, (folder, folder.parent)))
    with subprocess.Popen(
        [sys.executable, program], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        number = int(other.stdout.readline())
        assert number != site.number
        other.kill()
    left = machines.CACHE / f"site-{number}/living"
    assert left.exists()
    with machines.site() as heir:
        assert heir.number == number
        assert not left.exists()
        assert [path.name for path in Path("/run/netns").glob(f"gm{number}-*")] == [f"gm{number}-switch"]
        assert heir.machine("living").out("hostname") == "living"
        assert machine.out("hostname") == "living"
    assert machine.out("systemctl is-system-running --wait") == "running"
    machine.halt()
