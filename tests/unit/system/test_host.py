"""What tells one start of the monitor's machine from another."""

from pathlib import Path

from gpu_mesh.system import host

KERNELS = Path("/proc/sys/kernel/random/boot_id")


def test_a_boot_has_one_name_whether_systemd_tells_it_or_the_kernel() -> None:
    systemds = KERNELS.read_text().strip().replace("-", "")  # as %b in a unit
    assert host.boot({}) == host.boot({"GPU_MESH_BOOT": systemds}) == systemds


def test_another_boot_has_another_name() -> None:
    assert host.boot({"GPU_MESH_BOOT": "0" * 32}) != host.boot({})
